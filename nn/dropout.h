#pragma once
#include "nn/module.h"

namespace difftensor::inline DT_PRECISION::nn {

/// In training, zeroes each element with probability p and scales the rest by 1 / (1 - p); otherwise does nothing.
class Dropout : public Module {
 public:
  explicit Dropout(Scalar p) : p(p) { require(p >= 0 && p < 1, "Dropout", "probability ", p, " is not in [0, 1)"); }
  Tensor operator()(const Tensor& x) const { return training() ? dropout(x, p) : x; }

  const Scalar p;
};

}  // namespace difftensor::inline DT_PRECISION::nn
