// Softmax and its logarithm.
#include "core/kernels/softmax.h"

#include "core/ops.h"

namespace difftensor::inline DT_PRECISION {
namespace {
int64_t last_axis(const char* op, const Tensor& x) {
  require(x.rank() >= 1, op, "a scalar has no axis to normalise over");
  return x.shape().back();
}
}  // namespace

Tensor softmax(const Tensor& x) {
  const int64_t width = last_axis("softmax", x), rows = width ? x.numel() / width : 0;
  Tensor out(x.shape());
  kernels::softmax_rows(x.data(), out.data(), rows, width);
  // dy_j/dx_i = y_j ([i = j] - y_i): raising x_i raises y_i and lowers all the others. So
  // dx_i += sum_j dy_j dy_j/dx_i = y_i (dy_i - sum_j dy_j y_j).
  return record("softmax", out, {x},
                [y = out.storage(), rows, width](const Gradients& g) {
                  Scalar* dx = g.buffer(0);
                  parallel_for(rows, row_grain(width), [=, y = y.data(), dy = g.out](int64_t begin, int64_t end) {
                    for (int64_t r = begin; r < end; ++r) {
                      const Scalar *yr = y + r * width, *dyr = dy + r * width;
                      Scalar* dxr = dx + r * width;
                      Scalar dot = 0;
#pragma omp simd reduction(+ : dot)
                      for (int64_t i = 0; i < width; ++i) dot += dyr[i] * yr[i];
#pragma omp simd
                      for (int64_t i = 0; i < width; ++i) dxr[i] += yr[i] * (dyr[i] - dot);
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
      const Scalar log_sum = row.max + std::log(row.sum);
#pragma omp simd
      for (int64_t i = 0; i < width; ++i) yr[i] = xr[i] - log_sum;
    }
  });
  // dy_j/dx_i = [i = j] - softmax(x)_i, and softmax(x)_i = exp(y_i). So dx_i += dy_i - exp(y_i) sum_j dy_j.
  return record("log_softmax", out, {x},
                [y = out.storage(), rows, width](const Gradients& g) {
                  Scalar* dx = g.buffer(0);
                  parallel_for(rows, row_grain(width), [=, y = y.data(), dy = g.out](int64_t begin, int64_t end) {
                    for (int64_t r = begin; r < end; ++r) {
                      const Scalar *yr = y + r * width, *dyr = dy + r * width;
                      Scalar* dxr = dx + r * width;
                      Scalar total = 0;
#pragma omp simd reduction(+ : total)
                      for (int64_t i = 0; i < width; ++i) total += dyr[i];
#pragma omp simd
                      for (int64_t i = 0; i < width; ++i) dxr[i] += dyr[i] - kernels::exp(yr[i]) * total;
                    }
                  });
                },
                {{out}});
}

}  // namespace difftensor::inline DT_PRECISION
