#pragma once
// An op of one operand, element by element, from its formula and its derivative.
#include "core/autograd.h"

namespace difftensor::inline DT_PRECISION {

/// Which arguments a gradient uses, beside dy.
struct Uses {
  bool x = true, y = true;
};
constexpr Uses only_x{true, false}, only_y{false, true}, neither{false, false};

/// y = f(x) for each element. `gradient(dy, x, y)` is dy f'(x): many derivatives are simpler in y, as exp's, which is
/// y; and a quotient such as log's, dy / x, is one division, where a product with 1 / x rounds twice.
template <class F, class Gradient>
Tensor unary(const char* op, const Tensor& x, F f, Gradient gradient, Uses uses = {}) {
  Tensor out(x.shape());
  const Scalar* in = x.data();
  Scalar* y = out.data();
  parallel_for(x.numel(), [=](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) y[i] = f(in[i]);
  });
  // dx += dy f'(x)
  return record(
      op, out, {x},
      [x = x.storage(), y = out.storage(), gradient](const Gradients& g) {
        g.add(0, [dy = g.out, x = x.data(), y = y.data(), gradient](int64_t i) { return gradient(dy[i], x[i], y[i]); });
      },
      {{x, uses.x}, {out, uses.y}});
}

}  // namespace difftensor::inline DT_PRECISION
