#pragma once
// Finding the op that made the first NaN or infinity.
#include <functional>
#include <span>

#include "core/tensor.h"

namespace difftensor::inline DT_PRECISION {

/// While one lives, every op's result, and every gradient that backward() makes on this thread, is searched for NaN and
/// infinity; the first throws std::runtime_error naming the op and the shape. An infinity is taken to be meant where
/// masked_fill wrote it, or where one came in with an operand, as from a mask that is added. Slow: for finding a fault,
/// not for training.
class DetectAnomaly {
 public:
  DetectAnomaly();
  ~DetectAnomaly();
  DetectAnomaly(const DetectAnomaly&) = delete;
  DetectAnomaly& operator=(const DetectAnomaly&) = delete;

 private:
  bool previous_;
};

/// True inside a DetectAnomaly scope.
bool detects_anomaly();

namespace detail {
// Both do nothing outside a DetectAnomaly scope.
// Called by record().
void check_result(const char* op, const Tensor& out, std::span<const std::reference_wrapper<const Tensor>> inputs);
void check_input_gradients(const Node& node);  // called by backward() when node has run
}  // namespace detail

}  // namespace difftensor::inline DT_PRECISION
