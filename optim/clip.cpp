#include "optim/clip.h"

#include <cmath>

#include "core/kernels/parallel.h"

namespace difftensor::inline DT_PRECISION::optim {
namespace {
// The sum of (scale x_i)^2, in double. Pieces are summed in parallel, and their sums added in order: the same bits with
// any number of threads.
double sum_of_squares(const Scalar* x, int64_t n, double scale) {
  constexpr int64_t piece = 8192;
  std::vector<double> sums((n + piece - 1) / piece);
  parallel_for(static_cast<int64_t>(sums.size()), 1, [&](int64_t first, int64_t last) {
    for (int64_t p = first; p < last; ++p) {
      double sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = p * piece; i < std::min(n, (p + 1) * piece); ++i) {
        const double scaled = static_cast<double>(x[i]) * scale;
        sum += scaled * scaled;
      }
      sums[p] = sum;
    }
  });
  double total = 0;
  for (double sum : sums) total += sum;
  return total;
}
}  // namespace

double clip_grad_norm(const std::vector<Tensor>& parameters, double max_norm) {
  require(max_norm >= 0, "clip_grad_norm", "a longest length of ", max_norm);
  const auto norm_of = [&](double scale) {
    double square = 0;
    for (auto& parameter : parameters)
      if (const Tensor grad = parameter.grad(); grad.defined())
        square += sum_of_squares(grad.data(), grad.numel(), scale);
    return std::sqrt(square) / scale;
  };
  // A double holds the square of every float, but not that of every double: then once more, where it does.
  double norm = norm_of(1);
  if (std::isinf(norm)) norm = norm_of(0x1p-600);
  if (norm < 0x1p-500) norm = norm_of(0x1p600);
  const auto factor = static_cast<Scalar>(max_norm / (norm + 1e-6));
  if (factor >= 1) return norm;  // a NaN is not: it goes into every gradient, as one update would bring it everywhere
  for (auto& parameter : parameters)
    if (Tensor grad = parameter.grad(); grad.defined())
      parallel_for(grad.numel(), [factor, g = grad.data()](int64_t begin, int64_t end) {
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) g[i] *= factor;
      });
  return norm;
}

}  // namespace difftensor::inline DT_PRECISION::optim
