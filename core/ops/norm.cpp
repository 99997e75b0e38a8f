// Layer normalisation and its root-mean-square form.
#include <cmath>

#include "core/kernels/gemm.h"
#include "core/ops.h"

namespace difftensor::inline DT_PRECISION {
namespace {
constexpr int64_t row_tile = 32;

// Parameters of a norm get a gradient from every row. Each tile of rows sums its own part, and the parts are added in
// order: the same bits with any number of threads. `f(row, part)` adds what a row gives to part (width).
template <class F>
void each_row_with_sum(int64_t rows, int64_t width, Scalar* total, F f) {
  const int64_t tiles = (rows + row_tile - 1) / row_tile;
  Storage parts(tiles * width);
  parallel_for(tiles, 1, [&](int64_t first, int64_t last) {
    for (int64_t tile = first; tile < last; ++tile) {
      Scalar* part = parts.data() + tile * width;
      std::fill_n(part, width, Scalar{0});
      for (int64_t r = tile * row_tile, end = std::min(rows, r + row_tile); r < end; ++r) f(r, part);
    }
  });
  if (total) kernels::add_column_sums(parts.data(), tiles, width, total);
}
}  // namespace

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, Scalar eps) {
  require(x.rank() >= 1 && weight.shape() == Shape{x.shape().back()} && bias.shape() == weight.shape(), "layer_norm",
          "x ", x.shape(), " with weight ", weight.shape(), " and bias ", bias.shape());
  const int64_t D = weight.numel(), rows = D ? x.numel() / D : 0;
  Tensor out(x.shape());
  Storage means(rows), rstds(rows);
  parallel_for(rows, row_tile,
               [&, out = out.data(), means = means.data(), rstds = rstds.data()](int64_t begin, int64_t end) {
                 for (int64_t r = begin; r < end; ++r) {
                   const Scalar *xr = x.data() + r * D, *w = weight.data(), *b = bias.data();
                   Scalar* y = out + r * D;
                   Scalar mean = 0, variance = 0;
#pragma omp simd reduction(+ : mean)
                   for (int64_t i = 0; i < D; ++i) mean += xr[i];
                   mean /= static_cast<Scalar>(D);
#pragma omp simd reduction(+ : variance)
                   for (int64_t i = 0; i < D; ++i) variance += (xr[i] - mean) * (xr[i] - mean);
                   const Scalar rstd = 1 / std::sqrt(variance / static_cast<Scalar>(D) + eps);
#pragma omp simd
                   for (int64_t i = 0; i < D; ++i) y[i] = (xr[i] - mean) * rstd * w[i] + b[i];
                   means[r] = mean;
                   rstds[r] = rstd;
                 }
               });
  // With n = (x - mean) rstd, the normalised x, u = dy w is dL/dn. Without its two means the formula would take mean
  // and rstd for constants. But they depend on every x of the row: to shift or to scale it changes nothing. So:
  //   dx += rstd (u - mean(u) - n mean(u n)),  dw += sum over rows of dy n,  db += sum over rows of dy
  return record("layer_norm", out, {x, weight, bias},
                [x = x.storage(), w = weight.storage(), means, rstds, rows, D](const Gradients& g) {
                  Scalar* dx = g.wants(0) ? g.buffer(0) : nullptr;
                  Scalar* dw = g.wants(1) ? g.buffer(1) : nullptr;
                  each_row_with_sum(rows, D, dw, [&](int64_t r, Scalar* part) {
                    const Scalar *xr = x.data() + r * D, *dy = g.out + r * D, *wd = w.data();
                    const Scalar mean = means.data()[r], rstd = rstds.data()[r];
                    Scalar mean_u = 0, mean_un = 0;
#pragma omp simd reduction(+ : mean_u, mean_un)
                    for (int64_t i = 0; i < D; ++i) {
                      const Scalar n = (xr[i] - mean) * rstd, u = dy[i] * wd[i];
                      part[i] += dy[i] * n;
                      mean_u += u;
                      mean_un += u * n;
                    }
                    mean_u /= static_cast<Scalar>(D);
                    mean_un /= static_cast<Scalar>(D);
                    if (!dx) return;
                    Scalar* d = dx + r * D;
#pragma omp simd
                    for (int64_t i = 0; i < D; ++i)
                      d[i] += rstd * (dy[i] * wd[i] - mean_u - (xr[i] - mean) * rstd * mean_un);
                  });
                  if (g.wants(2)) kernels::add_column_sums(g.out, rows, D, g.buffer(2));
                },
                {{x, x.needs_grad() || weight.needs_grad()}, {weight, x.needs_grad()}});
}

Tensor rms_norm(const Tensor& x, const Tensor& weight, Scalar eps) {
  require(x.rank() >= 1 && weight.rank() == 1 && weight.numel() > 0 && x.shape().back() % weight.numel() == 0,
          "rms_norm", "the last axis of x ", x.shape(), " is not a whole number of groups of weight ", weight.shape());
  const int64_t D = weight.numel(), rows = x.numel() / D;
  Tensor out(x.shape());
  Storage rstds(rows);
  parallel_for(rows, row_tile, [&, out = out.data(), rstds = rstds.data()](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const Scalar *xr = x.data() + r * D, *w = weight.data();
      Scalar* y = out + r * D;
      Scalar square = 0;
#pragma omp simd reduction(+ : square)
      for (int64_t i = 0; i < D; ++i) square += xr[i] * xr[i];
      const Scalar rstd = 1 / std::sqrt(square / static_cast<Scalar>(D) + eps);
#pragma omp simd
      for (int64_t i = 0; i < D; ++i) y[i] = xr[i] * rstd * w[i];
      rstds[r] = rstd;
    }
  });
  // With n = x rstd and u = dy w:  dx += rstd (u - n mean(u n)),  dw += sum over rows of dy n
  return record("rms_norm", out, {x, weight},
                [x = x.storage(), w = weight.storage(), rstds, rows, D](const Gradients& g) {
                  const GradientBuffer dx = g.wants(0) ? g.raw_buffer(0) : GradientBuffer{};
                  Scalar* dw = g.wants(1) ? g.buffer(1) : nullptr;
                  each_row_with_sum(rows, D, dw, [&](int64_t r, Scalar* part) {
                    const Scalar *xr = x.data() + r * D, *dy = g.out + r * D, *wd = w.data();
                    const Scalar rstd = rstds.data()[r];
                    Scalar mean_un = 0;
#pragma omp simd reduction(+ : mean_un)
                    for (int64_t i = 0; i < D; ++i) {
                      const Scalar n = xr[i] * rstd;
                      part[i] += dy[i] * n;
                      mean_un += dy[i] * wd[i] * n;
                    }
                    mean_un /= static_cast<Scalar>(D);
                    if (!dx.data) return;
                    Scalar* d = dx.data + r * D;
                    if (dx.is_new) std::fill_n(d, D, Scalar{0});
#pragma omp simd
                    for (int64_t i = 0; i < D; ++i) d[i] += rstd * (dy[i] * wd[i] - xr[i] * rstd * mean_un);
                  });
                },
                {{x}, {weight, x.needs_grad()}});
}

}  // namespace difftensor::inline DT_PRECISION
