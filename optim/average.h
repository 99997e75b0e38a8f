#pragma once
// Averaging of parameters.
#include <map>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace difftensor::inline DT_PRECISION::optim {

/// The mean of several states of one model, such as its last checkpoints: mean = (s_1 + ... + s_n) / n for every
/// element (Vaswani et al. 2017, section 6.1; Izmailov et al. 2018). It lies nearer to the middle of the valley that
/// the states wander about in. Sums are in double and in the order of adding.
class ParameterAverage {
 public:
  /// Throws std::invalid_argument unless names and shapes are those of the first state.
  void add(const std::map<std::string, Tensor>& state);
  /// Throws std::invalid_argument if nothing was added.
  std::map<std::string, Tensor> mean() const;

 private:
  struct Sum {
    Shape shape;
    std::vector<double> values;
  };
  std::map<std::string, Sum> sums_;
  int64_t count_ = 0;
};

}  // namespace difftensor::inline DT_PRECISION::optim
