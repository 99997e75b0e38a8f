#pragma once
#include "nn/module.h"

namespace difftensor::inline DT_PRECISION::nn {

/// y = x weight^T + bias, with weight (out, in), Xavier-uniform, and bias (out), zero: (..., in) -> (..., out).
class Linear : public Module {
 public:
  Linear(int64_t in, int64_t out, bool with_bias, Random& random)
      : weight(add_parameter("weight", xavier_uniform({out, in}, random))) {
    if (with_bias) bias = add_parameter("bias", zeros({out}));
  }
  Tensor operator()(const Tensor& x) const { return linear(x, weight, bias); }

  Tensor weight, bias;
};

}  // namespace difftensor::inline DT_PRECISION::nn
