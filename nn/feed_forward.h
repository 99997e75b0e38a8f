#pragma once
#include "nn/linear.h"

namespace difftensor::inline DT_PRECISION::nn {

enum class Activation { relu, gelu, swiglu };

/// The network that a Transformer layer applies to each token by itself, (N, D) -> (N, F) -> (N, D):
///   relu, gelu:  down(f(up(x))), with biases (Vaswani et al. 2017)
///   swiglu:      down(silu(gate(x)) * up(x)), without (Shazeer 2020, arXiv 2002.05202)
/// `width` is D, `inner` F.
class FeedForward : public Module {
 public:
  FeedForward(int64_t width, int64_t inner, Activation kind, Random& random)
      : activation(kind),
        gate_proj(kind == Activation::swiglu ? &add_module<Linear>("gate_proj", width, inner, false, random) : nullptr),
        up_proj(add_module<Linear>("up_proj", width, inner, kind != Activation::swiglu, random)),
        down_proj(add_module<Linear>("down_proj", inner, width, kind != Activation::swiglu, random)) {}

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
  Linear* const gate_proj;  ///< swiglu only
  Linear &up_proj, &down_proj;
};

}  // namespace difftensor::inline DT_PRECISION::nn
