// Activation functions: elementwise, and not linear. And dropout, which belongs beside them in a layer.
#include <algorithm>
#include <cmath>

#include "core/elementwise.h"
#include "core/kernels/math.h"
#include "core/ops.h"

namespace difftensor::inline DT_PRECISION {
namespace {
// Adds n values to a gradient from element `at` on, if anybody asked for it.
void deliver(const Scalar* values, int64_t n, GradientBuffer gradient, int64_t at) {
  if (!gradient.data) return;
  Scalar* to = gradient.data + at;
  if (gradient.is_new) return std::copy_n(values, n, to), void();
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) to[i] += values[i];
}
}  // namespace

Tensor tanh(const Tensor& X) {
  // dy/dx = 1 - y^2 = 4 e / (1 + e)^2 with e = exp(-2 |x|), which does not end where y has rounded to 1
  return unary(
      "tanh", X, [](Scalar x) { return std::tanh(x); },
      [](Scalar dy, Scalar x, Scalar) {
        const Scalar e = kernels::exp(-2 * std::abs(x));
        return dy * (4 * e / ((1 + e) * (1 + e)));
      },
      only_x);
}
Tensor sigmoid(const Tensor& X) {
  // dy/dx = y (1 - y), and 1 - s(x) = s(-x)
  return unary(
      "sigmoid", X, [](Scalar x) { return kernels::sigmoid(x); },
      [](Scalar dy, Scalar x, Scalar y) { return dy * (y * kernels::sigmoid(-x)); });
}
Tensor relu(const Tensor& X) {
  // A product, not a choice between dy and 0, so that a NaN that comes in stays one; that of x is one in dx too.
  return unary(
      "relu", X, [](Scalar x) { return x < 0 ? Scalar{0} : x; },
      [](Scalar dy, Scalar x, Scalar) { return dy * (x > 0    ? 1
                                                     : x <= 0 ? 0
                                                              : x); }, only_x);
}
Tensor leaky_relu(const Tensor& X, Scalar slope) {
  return unary(
      "leaky_relu", X, [slope](Scalar x) { return x > 0 ? x : slope * x; },
      [slope](Scalar dy, Scalar x, Scalar) { return dy * (x > 0    ? 1
                                                          : x <= 0 ? slope
                                                                   : x); }, only_x);
}
Tensor elu(const Tensor& X, Scalar alpha) {
  // d/dx alpha (exp(x) - 1) = alpha exp(x)
  return unary(
      "elu", X, [alpha](Scalar x) { return x > 0 ? x : alpha * std::expm1(x); },
      [alpha](Scalar dy, Scalar x, Scalar) { return dy * (x > 0 ? 1 : alpha * std::exp(x)); }, only_x);
}
Tensor softplus(const Tensor& X) {
  // log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)), whose exp cannot overflow. Its derivative is sigmoid(x).
  return unary(
      "softplus", X, [](Scalar x) { return (x < 0 ? 0 : x) + std::log1p(std::exp(-std::abs(x))); },
      [](Scalar dy, Scalar x, Scalar) { return dy * kernels::sigmoid(x); }, only_x);
}
Tensor gelu(const Tensor& X) {
  // Phi(x) = (1 + erf(x / sqrt(2))) / 2 = erfc(-x / sqrt(2)) / 2: the second form does not cancel for x < 0.
  // d/dx x Phi(x) = Phi(x) + x phi(x), with phi the normal density
  auto cdf = [](Scalar x) { return Scalar(0.5) * std::erfc(x * Scalar(-0.70710678118654752440)); };
  return unary(
      "gelu", X, [cdf](Scalar x) { return x * cdf(x); },
      [cdf](Scalar dy, Scalar x, Scalar) {
        return dy * (cdf(x) + x * (Scalar(0.39894228040143267794) * std::exp(Scalar(-0.5) * x * x)));
      },
      only_x);
}
Tensor silu(const Tensor& X) {
  // d/dx x s(x) = s + x s (1 - s), with s = sigmoid(x) and 1 - s = sigmoid(-x)
  return unary(
      "silu", X, [](Scalar x) { return x * kernels::sigmoid(x); },
      [](Scalar dy, Scalar x, Scalar) { return dy * (kernels::sigmoid(x) * (1 + x * kernels::sigmoid(-x))); }, only_x);
}

Tensor swiglu(const Tensor& gate, const Tensor& up) {
  require(gate.shape() == up.shape(), "swiglu", "gate ", gate.shape(), " and up ", up.shape(), " must have one shape");
  Tensor out(gate.shape());
  parallel_for(out.numel(), [x = gate.data(), u = up.data(), y = out.data()](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) y[i] = x[i] * kernels::sigmoid(x[i]) * u[i];
  });
  // With s = sigmoid(gate): out = gate s up,  dgate += dy s up (1 + gate (1 - s)),  dup += dy s gate. The sigmoid costs
  // more than all else: a block of both gradients is made of it, in the nearest cache, and then delivered.
  return record("swiglu", out, {gate, up},
                [x = gate.storage(), u = up.storage()](const Gradients& g) {
                  const GradientBuffer dgate = g.wants(0) ? g.raw_buffer(0) : GradientBuffer{};
                  const GradientBuffer dup = g.wants(1) ? g.raw_buffer(1) : GradientBuffer{};
                  parallel_for(x.size(), [=, dy = g.out, x = x.data(), u = u.data()](int64_t begin, int64_t end) {
                    constexpr int64_t block = 512;
                    Scalar of_gate[block], of_up[block];
                    for (int64_t at = begin; at < end; at += block) {
                      const int64_t n = std::min(block, end - at);
#pragma omp simd
                      for (int64_t i = 0; i < n; ++i) {
                        const Scalar xi = x[at + i], s = kernels::sigmoid(xi), dy_s = dy[at + i] * s;
                        of_gate[i] = dy_s * u[at + i] * (1 + xi * (1 - s));
                        of_up[i] = dy_s * xi;
                      }
                      deliver(of_gate, n, dgate, at);
                      deliver(of_up, n, dup, at);
                    }
                  });
                },
                {{gate}, {up, gate.needs_grad()}});
}

Tensor dropout(const Tensor& x, Scalar p) {
  require(p >= 0 && p < 1, "dropout", "probability ", p, " is not in [0, 1)");
  if (p == 0) return x;
  // The mask is not stored: it is a function of the generator's state, which the closure keeps, and is drawn again.
  const Random random = default_random();
  default_random().skip(x.numel());
  auto kept = [random, p, scale = 1 / (1 - p)](int64_t i) {
    return Random::to_uniform(random.bits_at(i)) < p ? Scalar{0} : scale;
  };
  Tensor out(x.shape());
  parallel_for(x.numel(), [kept, x = x.data(), y = out.data()](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) y[i] = kept(i) * x[i];
  });
  // dx += dy mask / (1 - p)
  return record("dropout", out, {x},
                [kept](const Gradients& g) { g.add(0, [kept, dy = g.out](int64_t i) { return kept(i) * dy[i]; }); },
                {});
}

}  // namespace difftensor::inline DT_PRECISION
