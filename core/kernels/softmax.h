#pragma once
// Softmax of a row, and its parts.
#include <algorithm>
#include <limits>

#include "core/kernels/math.h"
#include "core/kernels/simd.h"

namespace difftensor::inline DT_PRECISION::kernels {

/// The largest of x (n); -inf if there is none. NaN counts as nothing.
inline Scalar row_max(const Scalar* x, int64_t n) {
  Simd tops[4];  // of every fourth register: a comparison need not wait for the one before
  for (Simd& top : tops) top = broadcast(-std::numeric_limits<Scalar>::infinity());
  int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes)
    for (int64_t r = 0; r < 4; ++r) tops[r] = larger(load(x + i + r * lanes), tops[r]);
  for (; i + lanes <= n; i += lanes) tops[0] = larger(load(x + i), tops[0]);
  Scalar top = max_of_lanes(larger(larger(tops[0], tops[1]), larger(tops[2], tops[3])));
  for (; i < n; ++i) top = x[i] > top ? x[i] : top;
  return top;
}

/// So many terms are summed in Scalar before a sum goes on in double.
constexpr int64_t sum_run = 512;
/// sum_i term(i). Runs of sum_run are summed in Scalar, in SIMD lanes, and the runs in double: of terms of one sign, the
/// relative error is below 40 roundings however many there are, where one float sum of ones stops growing at 2^24.
template <class Term>
inline double sum_of(int64_t n, Term term) {
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += sum_run) {
    const int64_t end = std::min(n, begin + sum_run);
    Scalar sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = begin; i < end; ++i) sum += term(i);
    total += static_cast<double>(sum);
  }
  return total;
}

/// The sum of y (n), by the same runs.
inline double row_sum(const Scalar* y, int64_t n) {
  double total = 0;
  for (int64_t i = 0; i < n;) {
    const int64_t end = std::min(n, i + sum_run);
    Simd sums{};
    for (; i + lanes <= end; i += lanes) sums += load(y + i);
    Scalar sum = sum_of_lanes(sums);
    for (; i < end; ++i) sum += y[i];
    total += static_cast<double>(sum);
  }
  return total;
}

/// y = exp(scale (x - max x)) and returns {max x, sum y}. Subtracting the maximum keeps exp from overflowing and
/// cancels in the quotient; it comes first, so that a large offset common to all x costs no digits of what is left.
/// y may be x; scale > 0. A row of -inf gives y = 0, so that nothing to attend to means attending to nothing; one with
/// a NaN or +inf has the sum NaN.
struct ExpRow {
  Scalar max, sum;
  /// What makes a softmax of y.
  Scalar norm() const { return sum == 0 ? 0 : 1 / sum; }
};
inline ExpRow exp_row(const Scalar* x, Scalar* y, int64_t n, Scalar scale = 1) {
  const Scalar top = row_max(x, n);
  const Scalar origin = top == -std::numeric_limits<Scalar>::infinity() ? 0 : top;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = kernels::exp_nonpositive(scale * (x[i] - origin));
  return {top, static_cast<Scalar>(row_sum(y, n))};
}

/// sum y - 1 for y of exp_row() and its sum: what the other terms add to the largest, which is 1. The model is sure of
/// that one if the rest is tiny, and the sum has then rounded it away: so the others are summed by themselves.
/// log(sum y) = log1p(rest) is right to a few units in its own last place, down to 1e-38.
inline double rest_of_sum(const Scalar* y, int64_t n, Scalar sum) {
  if (!(sum < Scalar(1.5))) return static_cast<double>(sum) - 1;  // NaN too
  return sum_of(n, [=](int64_t i) { return y[i] < 1 ? y[i] : 0; });
}

/// y = softmax(scale x). Times 1 / sum rather than divided by it: one rounding more, a few units in the last place in
/// all, and 0 below 1e-38.
inline void softmax_row(const Scalar* x, Scalar* y, int64_t n, Scalar scale = 1) {
  const Scalar norm = exp_row(x, y, n, scale).norm();
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] *= norm;
}

/// y = softmax(scale x) for each row, in parallel. A large y is written past the caches.
void softmax_rows(const Scalar* x, Scalar* y, int64_t rows, int64_t width, Scalar scale = 1);

}  // namespace difftensor::inline DT_PRECISION::kernels
