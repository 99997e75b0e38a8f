#pragma once
// A residual connection that learns how much to let in.
#include "core/ops.h"
#include "nn/linear.h"

namespace layers {
using namespace difftensor;

/// y = x + g(x) f(x),  g(x) = sigmoid(W x + b), feature by feature (after Srivastava et al. 2015, arXiv 1505.00387). b
/// begins at `openness`: well below 0, training begins with y = x, however deep the stack.
template <class F>
class GatedResidual : public nn::Module {
 public:
  /// f is made from the arguments that follow.
  template <class... Arguments>
  GatedResidual(int64_t width, Scalar openness, Random& random, Arguments&&... arguments)
      : gate(add_parameter("gate", xavier_uniform({width, width}, random))),
        bias(add_parameter("bias", full({width}, openness))),
        inner(add_module<F>("inner", std::forward<Arguments>(arguments)...)) {}

  Tensor operator()(const Tensor& x) const { return x + sigmoid(linear(x, gate, bias)) * inner(x); }

  const Tensor gate, bias;
  F& inner;
};

}  // namespace layers
