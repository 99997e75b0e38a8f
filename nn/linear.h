#pragma once
#include "nn/module.h"

namespace difftensor::inline DT_PRECISION::nn {

/// y = x weight^T + bias: (..., in) -> (..., out). weight (out, in) begins Xavier-uniform (Glorot, Bengio 2010), bias
/// (out) at zero.
class Linear : public Module {
 public:
  Linear(int64_t in, int64_t out, bool with_bias, Random& random)
      : weight(add_parameter("weight", xavier_uniform({out, in}, random))),
        bias(with_bias ? add_parameter("bias", zeros({out})) : Tensor()) {}
  Tensor operator()(const Tensor& x) const { return linear(x, weight, bias); }

  const Tensor weight, bias;  ///< bias is undefined if there is none
};

}  // namespace difftensor::inline DT_PRECISION::nn
