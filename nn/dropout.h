#pragma once
#include "nn/module.h"

namespace difftensor::inline DT_PRECISION::nn {

/// In training mode, zeroes each element with probability p and scales the rest by 1 / (1 - p), so that the expectation
/// stays (Srivastava et al. 2014); in evaluation mode does nothing. Draws from default_random(). Throws unless 0 <= p <
/// 1.
class Dropout : public Module {
 public:
  explicit Dropout(Scalar probability) : p(probability) {
    require(p >= 0 && p < 1, "Dropout", "probability ", p, " is not in [0, 1)");
  }
  Tensor operator()(const Tensor& x) const { return training() ? dropout(x, p) : x; }

  const Scalar p;
};

}  // namespace difftensor::inline DT_PRECISION::nn
