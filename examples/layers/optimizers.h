#pragma once
// Two optimizers of one's own: one that works on elements, one on whole matrices.
#include "core/ops.h"
#include "optim/optimizer.h"

namespace layers {
using namespace difftensor;

/// Lion (Chen et al. 2023, arXiv 2302.06675): a step of one size for every element, in the direction of the sign of
///   u = beta1 m + (1 - beta1) g,  w -= lr (sign(u) + decay w),  then m = beta2 m + (1 - beta2) g
/// The sign of a NaN is NaN. Throws unless both betas are in [0, 1).
class Lion : public optim::Optimizer {
 public:
  Lion(const optim::ParameterGroups& groups, double lr, double beta1 = 0.9, double beta2 = 0.99)
      : Optimizer(groups, lr, {{"m"}}), beta1_(beta1), beta2_(beta2) {
    for (const double beta : {beta1, beta2}) require(beta >= 0 && beta < 1, "Lion", "beta ", beta, " is not in [0, 1)");
  }

 protected:
  void update(Slot& slot, Range elements, const Scalar* g, double learning_rate, double) const override {
    const auto lr = static_cast<Scalar>(learning_rate), decay = static_cast<Scalar>(slot.weight_decay);
    // In double first: 1 - 0.999f has only four right digits.
    const auto beta1 = static_cast<Scalar>(beta1_), fresh1 = static_cast<Scalar>(1 - beta1_);
    const auto beta2 = static_cast<Scalar>(beta2_), fresh2 = static_cast<Scalar>(1 - beta2_);
    Scalar *w = slot.parameter.data(), *m = slot.state[0].data();
    for (int64_t i = elements.begin; i < elements.end; ++i) {
      const Scalar u = beta1 * m[i] + fresh1 * g[i];
      const Scalar sign = u > 0 ? 1 : u < 0 ? -1 : u;  // 0 and NaN are their own
      w[i] -= lr * (sign + decay * w[i]);
      m[i] = beta2 * m[i] + fresh2 * g[i];
    }
  }

 private:
  const double beta1_, beta2_;
};

/// Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon), for matrices inside a network: the momentum's nearest
/// orthogonal matrix is the step, so that no direction of a gradient is stronger than another. It is found by five
/// steps of Newton and Schulz, all products:
///   m = momentum m + g,  X = m / |m|,  five times X = 3.4445 X + (-4.775 X X^T + 2.0315 (X X^T)^2) X,
///   w = (1 - lr weight_decay) w - lr sqrt(max(1, out / in)) X
/// Throws unless every parameter is a matrix, and momentum >= 0.
class Muon : public optim::Optimizer {
 public:
  Muon(const optim::ParameterGroups& groups, double lr, double momentum = 0.95)
      : Optimizer(groups, lr, {.names = {"m"}, .shape = {}, .whole = true}), momentum_(static_cast<Scalar>(momentum)) {
    require(momentum >= 0, "Muon", "momentum ", momentum, " is negative or not a number");
    for (const auto& group : groups.groups)
      for (const Tensor& p : group.parameters) require(p.rank() == 2, "Muon", p.shape(), " is no matrix");
  }
  /// m (out, in), with all singular values near 1.
  static Tensor orthogonalised(const Tensor& m) {
    const bool tall = m.dim(0) > m.dim(1);
    Tensor x = tall ? transpose(m, 0, 1) : m;
    x = x / (norm(x) + Scalar(1e-7));
    for (int i = 0; i < 5; ++i) {
      const Tensor a = matmul(x, x, false, true);
      x = x * Scalar(3.4445) + matmul(a * Scalar(-4.7750) + matmul(a, a) * Scalar(2.0315), x);
    }
    return tall ? transpose(x, 0, 1) : x;
  }

 protected:
  void update(Slot& slot, Range elements, const Scalar* g, double lr, double) const override {
    const NoGrad no_grad;
    Scalar* m = slot.state[0].data();
    for (int64_t i = 0; i < elements.end; ++i) m[i] = momentum_ * m[i] + g[i];
    const Tensor& w = slot.parameter;
    const double scale = std::sqrt(std::max(1.0, static_cast<double>(w.dim(0)) / static_cast<double>(w.dim(1))));
    const Tensor next = w * static_cast<Scalar>(1 - lr * slot.weight_decay) -
                        orthogonalised(slot.state[0]) * static_cast<Scalar>(lr * scale);
    std::copy_n(next.values().data(), next.numel(), slot.parameter.data());
  }

 private:
  const Scalar momentum_;
};

}  // namespace layers
