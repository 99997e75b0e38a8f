#pragma once
// An op of one operand, element by element, from its formula and its derivative.
#include "core/autograd.h"

namespace difftensor::inline DT_PRECISION {

/// Which arguments a slope uses.
struct Uses {
  bool x = true, y = true;
};
constexpr Uses only_x{true, false}, only_y{false, true}, neither{false, false};

/// y = f(x) for each element. `slope(x, y)` is dy/dx: many derivatives are simpler in y, as exp's, which is y.
template <class F, class Slope>
Tensor unary(const char* op, const Tensor& x, F f, Slope slope, Uses uses = {}) {
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
      [x = x.storage(), y = out.storage(), slope](const Gradients& g) {
        g.add(0, [dy = g.out, x = x.data(), y = y.data(), slope](int64_t i) { return dy[i] * slope(x[i], y[i]); });
      },
      {{x, uses.x}, {out, uses.y}});
}

}  // namespace difftensor::inline DT_PRECISION
