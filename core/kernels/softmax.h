#pragma once
// Softmax of a row, and its parts.
#include <limits>

#include "core/kernels/math.h"

namespace difftensor::inline DT_PRECISION::kernels {

inline Scalar row_max(const Scalar* x, int64_t n) {
  Scalar top = -std::numeric_limits<Scalar>::infinity();
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < n; ++i) top = x[i] > top ? x[i] : top;
  return top;
}

inline Scalar row_sum(const Scalar* x, int64_t n) {
  Scalar sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += x[i];
  return sum;
}

/// y = exp(scale (x - max x)) and returns {max x, sum y}. Subtracting the maximum keeps exp from overflowing and
/// cancels in the quotient. y may be x; scale > 0. A row of -inf gives y = 0, so that nothing to attend to means
/// attending to nothing.
struct ExpRow {
  Scalar max, sum;
  /// What makes a softmax of y.
  Scalar norm() const { return sum == 0 ? 0 : 1 / sum; }
};
inline ExpRow exp_row(const Scalar* x, Scalar* y, int64_t n, Scalar scale = 1) {
  const Scalar top = row_max(x, n);
  const Scalar origin = top == -std::numeric_limits<Scalar>::infinity() ? 0 : top;
  Scalar sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) {
    y[i] = kernels::exp_nonpositive(scale * (x[i] - origin));
    sum += y[i];
  }
  return {top, sum};
}

/// y = softmax(x).
inline void softmax_row(const Scalar* x, Scalar* y, int64_t n) {
  const Scalar norm = exp_row(x, y, n).norm();
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] *= norm;
}

/// y = softmax(x) for each row, in parallel. A large y is written past the caches.
void softmax_rows(const Scalar* x, Scalar* y, int64_t rows, int64_t width);

/// log sum_i exp(x_i)
inline Scalar log_sum_exp(const Scalar* x, int64_t n) {
  const Scalar top = row_max(x, n);
  if (top == -std::numeric_limits<Scalar>::infinity()) return top;
  Scalar sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += kernels::exp_nonpositive(x[i] - top);
  return top + std::log(sum);
}

}  // namespace difftensor::inline DT_PRECISION::kernels
