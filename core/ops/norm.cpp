// Layer normalisation and its root-mean-square form.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/kernels/gemm.h"
#include "core/kernels/softmax.h"
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

// Calls f(begin, end) for each run of a row of n. Sums over a row are made in Scalar within a run, and in double from
// one run to the next, so that their errors do not grow with the row.
template <class F>
void each_run(int64_t n, F f) {
  constexpr int64_t run = 1024;
  for (int64_t begin = 0; begin < n; begin += run) f(begin, std::min(n, begin + run));
}

// Squares leave the range of a Scalar long before the row does: above 1e19 in float they are infinite, below 1e-19 they
// vanish. Then the row is taken times a power of two, which brings its largest element near to 1 and rounds nothing,
// and eps times its square: the normalised row is the same. A row with NaN or infinity has the factor 1, and stays so.
Scalar row_scale(const Scalar* x, int64_t n, Scalar eps) {
  Scalar largest = std::sqrt(eps);  // which must not leave the range either
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(x[i]));
  if (largest == 0 || !std::isfinite(largest)) return 1;
  constexpr int limit = std::numeric_limits<Scalar>::max_exponent - 2;
  return std::ldexp(Scalar{1}, std::clamp(-std::ilogb(largest), -limit, limit));
}
// Is `square`, a row's mean square plus eps, a normal number, with digits to spare? (A NaN is not.)
bool in_range(Scalar square) {
  constexpr auto least = std::numeric_limits<Scalar>::min() / std::numeric_limits<Scalar>::epsilon();
  return square >= least && square <= std::numeric_limits<Scalar>::max();
}
// x times `scale`: x itself if that is 1, else in `copy`, made if need be.
const Scalar* scaled(const Scalar* x, int64_t n, Scalar scale, Storage& copy) {
  if (scale == 1) return x;
  if (!copy) copy = Storage(n);
  for (int64_t i = 0; i < n; ++i) copy.data()[i] = x[i] * scale;
  return copy.data();
}

// What a row is normalised by: n = (scale x - center - rest) rstd.
struct RowNorm {
  Scalar scale = 1;             // see row_scale()
  Scalar center = 0, rest = 0;  // the mean, rounded, and what that leaves: in 1e8, 1e8 + 8, ... as much as the spread
  Scalar rstd = 0;
};
}  // namespace

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, Scalar eps) {
  require(x.rank() >= 1 && weight.shape() == Shape{x.shape().back()} && bias.shape() == weight.shape(), "layer_norm",
          "x ", x.shape(), " with weight ", weight.shape(), " and bias ", bias.shape());
  const int64_t D = weight.numel(), rows = D ? x.numel() / D : 0;
  Tensor out(x.shape());
  std::vector<RowNorm> norms(rows);
  parallel_for(rows, row_tile, [&, out = out.data()](int64_t begin, int64_t end) {
    Storage copy;
    for (int64_t r = begin; r < end; ++r) {
      const Scalar *x_r = x.data() + r * D, *xr = x_r, *w = weight.data(), *b = bias.data();
      Scalar* y = out + r * D;
      RowNorm norm;  // not in `norms`: for all the compiler knows, y could be written there
      const auto mean_square = [&] {  // of x - mean: E[x^2] - E[x]^2 would cancel
        const auto n = static_cast<double>(D);
        const auto c = norm.center = static_cast<Scalar>(kernels::sum_of(D, [xr](int64_t i) { return xr[i]; }) / n);
        norm.rest = static_cast<Scalar>(kernels::sum_of(D, [xr, c](int64_t i) { return xr[i] - c; }) / n);
        const auto squares = [xr, c, rest = norm.rest](int64_t i) {
          const Scalar d = (xr[i] - c) - rest;
          return d * d;
        };
        return static_cast<Scalar>(kernels::sum_of(D, squares) / n);
      };
      Scalar square = mean_square() + eps;
      if (!in_range(square)) {
        norm.scale = row_scale(x_r, D, eps);
        xr = scaled(x_r, D, norm.scale, copy);
        square = mean_square() + eps * norm.scale * norm.scale;
      }
      norm.rstd = 1 / std::sqrt(square);
#pragma omp simd
      for (int64_t i = 0; i < D; ++i) y[i] = ((xr[i] - norm.center) - norm.rest) * norm.rstd * w[i] + b[i];
      norms[r] = norm;
    }
  });
  // With n = (x - mean) rstd, the normalised x, u = dy w is dL/dn. Without its two means the formula would take mean
  // and rstd for constants. But they depend on every x of the row: to shift or to scale it changes nothing. So:
  //   dx += rstd (u - mean(u) - n mean(u n)),  dw += sum over rows of dy n,  db += sum over rows of dy
  return record("layer_norm", out, {x, weight, bias},
                [x = x.storage(), w = weight.storage(), norms = std::move(norms), rows, D](const Gradients& g) {
                  Scalar* dx = g.wants(0) ? g.buffer(0) : nullptr;
                  Scalar* dw = g.wants(1) ? g.buffer(1) : nullptr;
                  each_row_with_sum(rows, D, dw, [&](int64_t r, Scalar* part) {
                    const RowNorm norm = norms[r];
                    Storage copy;
                    const Scalar *xr = scaled(x.data() + r * D, D, norm.scale, copy), *dy = g.out + r * D;
                    const Scalar* wd = w.data();
                    double total_u = 0, total_un = 0;
                    each_run(D, [&](int64_t begin, int64_t end) {
                      Scalar sum_u = 0, sum_un = 0;
#pragma omp simd reduction(+ : sum_u, sum_un)
                      for (int64_t i = begin; i < end; ++i) {
                        const Scalar n = ((xr[i] - norm.center) - norm.rest) * norm.rstd, u = dy[i] * wd[i];
                        part[i] += dy[i] * n;
                        sum_u += u;
                        sum_un += u * n;
                      }
                      total_u += static_cast<double>(sum_u), total_un += static_cast<double>(sum_un);
                    });
                    if (!dx) return;
                    const auto mean_u = static_cast<Scalar>(total_u / static_cast<double>(D));
                    const auto mean_un = static_cast<Scalar>(total_un / static_cast<double>(D));
                    Scalar* d = dx + r * D;
#pragma omp simd
                    for (int64_t i = 0; i < D; ++i) {
                      const Scalar n = ((xr[i] - norm.center) - norm.rest) * norm.rstd;
                      d[i] += norm.rstd * (dy[i] * wd[i] - mean_u - n * mean_un) * norm.scale;
                    }
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
  std::vector<RowNorm> norms(rows);
  parallel_for(rows, row_tile, [&, out = out.data()](int64_t begin, int64_t end) {
    Storage copy;
    for (int64_t r = begin; r < end; ++r) {
      const Scalar *x_r = x.data() + r * D, *xr = x_r, *w = weight.data();
      Scalar* y = out + r * D;
      RowNorm norm;
      const auto mean_square = [&] {
        return static_cast<Scalar>(kernels::sum_of(D, [xr](int64_t i) { return xr[i] * xr[i]; }) /
                                   static_cast<double>(D));
      };
      Scalar square = mean_square() + eps;
      if (!in_range(square)) {
        norm.scale = row_scale(x_r, D, eps);
        xr = scaled(x_r, D, norm.scale, copy);
        square = mean_square() + eps * norm.scale * norm.scale;
      }
      norm.rstd = 1 / std::sqrt(square);
#pragma omp simd
      for (int64_t i = 0; i < D; ++i) y[i] = xr[i] * norm.rstd * w[i];
      norms[r] = norm;
    }
  });
  // With n = x rstd and u = dy w:  dx += rstd (u - n mean(u n)),  dw += sum over rows of dy n
  return record("rms_norm", out, {x, weight},
                [x = x.storage(), w = weight.storage(), norms = std::move(norms), rows, D](const Gradients& g) {
                  const GradientBuffer dx = g.wants(0) ? g.raw_buffer(0) : GradientBuffer{};
                  Scalar* dw = g.wants(1) ? g.buffer(1) : nullptr;
                  each_row_with_sum(rows, D, dw, [&](int64_t r, Scalar* part) {
                    const Scalar scale = norms[r].scale, rstd = norms[r].rstd;
                    Storage copy;
                    const Scalar *xr = scaled(x.data() + r * D, D, scale, copy), *dy = g.out + r * D, *wd = w.data();
                    double total_un = 0;
                    each_run(D, [&](int64_t begin, int64_t end) {
                      Scalar sum_un = 0;
#pragma omp simd reduction(+ : sum_un)
                      for (int64_t i = begin; i < end; ++i) {
                        const Scalar n = xr[i] * rstd;
                        part[i] += dy[i] * n;
                        sum_un += dy[i] * wd[i] * n;
                      }
                      total_un += static_cast<double>(sum_un);
                    });
                    if (!dx.data) return;
                    const auto mean_un = static_cast<Scalar>(total_un / static_cast<double>(D));
                    Scalar* d = dx.data + r * D;
                    if (dx.is_new) std::fill_n(d, D, Scalar{0});
#pragma omp simd
                    for (int64_t i = 0; i < D; ++i) d[i] += rstd * (dy[i] * wd[i] - xr[i] * rstd * mean_un) * scale;
                  });
                },
                {{x}, {weight, x.needs_grad()}});
}

}  // namespace difftensor::inline DT_PRECISION
