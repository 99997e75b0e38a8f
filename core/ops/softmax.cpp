// Softmax, its logarithm, and the logarithm of its denominator.
#include "core/kernels/softmax.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/ops.h"

namespace difftensor::inline DT_PRECISION {
namespace {
int64_t last_axis(const char* op, const Tensor& x) {
  require(x.rank() >= 1, op, "a scalar has no axis to normalise over");
  return x.shape().back();
}
}  // namespace

Tensor softmax(const Tensor& x, Scalar scale) {
  require(scale > 0, "softmax", "scale ", scale, " is not positive");
  const int64_t width = last_axis("softmax", x), rows = width ? x.numel() / width : 0;
  Tensor out(x.shape());
  kernels::softmax_rows(x.data(), out.data(), rows, width, scale);
  // d y_j / d x_i = scale y_j ([i = j] - y_i): raising x_i raises y_i and lowers all the others. Times
  // dy_j, and summed over j: dx_i += scale y_i (dy_i - sum_j dy_j y_j).
  // As the y_j sum to 1, any number may be taken off all dy. That of the largest y_j leaves the difference of what is
  // small: nothing is lost of a large common offset, nor of 1 - y_j where y_j has rounded to 1.
  return record("softmax", out, {x},
                [y = out.storage(), rows, width, scale](const Gradients& g) {
                  Scalar* dx = g.buffer(0);
                  parallel_for(rows, row_grain(width), [=, y = y.data(), dy = g.out](int64_t begin, int64_t end) {
                    for (int64_t r = begin; r < end; ++r) {
                      const Scalar *yr = y + r * width, *dyr = dy + r * width;
                      Scalar* dxr = dx + r * width;
                      const Scalar* largest = std::find(yr, yr + width, kernels::row_max(yr, width));
                      const Scalar offset = largest == yr + width ? 0 : dyr[largest - yr];  // none in a row of NaN
                      const auto dot = static_cast<Scalar>(
                          kernels::sum_of(width, [=](int64_t i) { return (dyr[i] - offset) * yr[i]; }));
#pragma omp simd
                      for (int64_t i = 0; i < width; ++i) dxr[i] += scale * yr[i] * (dyr[i] - offset - dot);
                    }
                  });
                },
                {{out}});
}

Tensor log_softmax(const Tensor& x) {
  const int64_t width = last_axis("log_softmax", x), rows = width ? x.numel() / width : 0;
  Tensor out(x.shape());
  parallel_for(rows, row_grain(width), [=, x = x.data(), y = out.data()](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const Scalar* xr = x + r * width;
      Scalar* yr = y + r * width;
      const kernels::ExpRow row = kernels::exp_row(xr, yr, width);
      const auto log_sum = static_cast<Scalar>(std::log1p(kernels::rest_of_sum(yr, width, row.sum)));
#pragma omp simd
      for (int64_t i = 0; i < width; ++i) yr[i] = (xr[i] - row.max) - log_sum;
    }
  });
  // d y_j / d x_i = [i = j] - p_i, with p_i = softmax(x)_i = exp(y_i). So dx_i += dy_i - p_i sum_j dy_j, but in the form
  // dy_i (1 - p_i) - p_i (what the other dy_j sum to): it keeps what is left of dy_i where p_i has rounded to 1.
  return record("log_softmax", out, {x},
                [y = out.storage(), rows, width](const Gradients& g) {
                  Scalar* dx = g.buffer(0);
                  parallel_for(rows, row_grain(width), [=, y = y.data(), dy = g.out](int64_t begin, int64_t end) {
                    for (int64_t r = begin; r < end; ++r) {
                      const Scalar *yr = y + r * width, *dyr = dy + r * width;
                      Scalar* dxr = dx + r * width;
                      const auto total = static_cast<Scalar>(kernels::sum_of(width, [=](int64_t i) { return dyr[i]; }));
#pragma omp simd
                      for (int64_t i = 0; i < width; ++i)
                        dxr[i] += dyr[i] * kernels::one_minus_exp(yr[i]) - kernels::exp(yr[i]) * (total - dyr[i]);
                    }
                  });
                },
                {{out}});
}
Tensor logsumexp(const Tensor& x, int axis, bool keepdim) {
  const Tensor rows = transpose(x, axis, -1);
  const int64_t width = rows.shape().back();
  require(width > 0, "logsumexp", "axis ", axis, " of shape ", x.shape(), " is empty");
  const int64_t count = rows.numel() / width;
  Shape shape = rows.shape();
  shape[shape.rank() - 1] = 1;
  Tensor out(shape);
  parallel_for(count, row_grain(width), [=, x = rows.data(), y = out.data()](int64_t begin, int64_t end) {
    std::vector<Scalar> exps(width);
    for (int64_t r = begin; r < end; ++r) {
      const Scalar* xr = x + r * width;
      const kernels::ExpRow row = kernels::exp_row(xr, exps.data(), width);
      const double rest = kernels::rest_of_sum(exps.data(), width, row.sum);
      const auto log_sum = static_cast<Scalar>(std::log1p(rest));
      // Of -inf alone, or with +inf, the largest is all there is. But a NaN, which the largest passes over, stays one.
      const bool infinite = std::isinf(row.max) && std::none_of(xr, xr + width, [](Scalar v) { return std::isnan(v); });
      y[r] = infinite ? row.max : row.max + log_sum;
    }
  });
  // dx_i += dy softmax(x)_i
  Tensor y = record("logsumexp", out, {rows},
                    [x = rows.storage(), count, width](const Gradients& g) {
                      Scalar* dx = g.buffer(0);
                      parallel_for(count, row_grain(width), [=, x = x.data(), dy = g.out](int64_t begin, int64_t end) {
                        std::vector<Scalar> p(width);
                        for (int64_t r = begin; r < end; ++r) {
                          kernels::softmax_row(x + r * width, p.data(), width);
                          for (int64_t i = 0; i < width; ++i) dx[r * width + i] += dy[r] * p[i];
                        }
                      });
                    },
                    {{rows}});
  y = transpose(y, axis, -1);
  return keepdim ? y : squeeze(y, axis);
}

}  // namespace difftensor::inline DT_PRECISION
