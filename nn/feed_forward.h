#pragma once
#include <memory>

#include "nn/linear.h"

namespace difftensor::inline DT_PRECISION::nn {

enum class Activation { relu, gelu, swiglu };

/// The network that a Transformer layer applies to each token by itself, (N, D) -> (N, F) -> (N, D):
///   relu, gelu:  down(f(up(x))), with biases (Vaswani et al. 2017)
///   swiglu:      down(silu(gate(x)) * up(x)), without (Shazeer 2020, arXiv 2002.05202)
/// `width` is D, `inner` F.
class FeedForward : public Module {
 public:
  FeedForward(int64_t width, int64_t inner, Activation activation, Random& random)
      : activation(activation),
        gate_proj(activation == Activation::swiglu ? std::make_unique<Linear>(width, inner, false, random) : nullptr),
        up_proj(width, inner, activation != Activation::swiglu, random),
        down_proj(inner, width, activation != Activation::swiglu, random) {
    if (gate_proj) add_module("gate_proj", *gate_proj);
    add_module("up_proj", up_proj);
    add_module("down_proj", down_proj);
  }

  Tensor operator()(const Tensor& x) const {
    switch (activation) {
      case Activation::relu:
        return down_proj(relu(up_proj(x)));
      case Activation::gelu:
        return down_proj(gelu(up_proj(x)));
      case Activation::swiglu:
        return down_proj(swiglu((*gate_proj)(x), up_proj(x)));
    }
    throw std::logic_error("FeedForward: unknown activation");
  }

  const Activation activation;
  const std::unique_ptr<Linear> gate_proj;  ///< swiglu only
  Linear up_proj, down_proj;
};

}  // namespace difftensor::inline DT_PRECISION::nn
