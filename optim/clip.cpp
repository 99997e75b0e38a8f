#include "optim/clip.h"

#include <cmath>
#include <numeric>
#include <span>

#include "core/kernels/parallel.h"

namespace difftensor::inline DT_PRECISION::optim {
namespace {
// The sum of (scale x)^2 over each piece, in double.
std::vector<double> sums_of_squares(const std::vector<Tensor>& gradients, double scale) {
  std::vector<std::span<const Scalar>> pieces;
  for (const Tensor& gradient : gradients)
    for (int64_t i = 0; i < gradient.numel(); i += norm_piece)
      pieces.emplace_back(gradient.data() + i, std::min(norm_piece, gradient.numel() - i));
  std::vector<double> sums(pieces.size());
  parallel_for(static_cast<int64_t>(pieces.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const std::span<const Scalar> x = pieces[p];
      double sum = 0;
#pragma omp simd reduction(+ : sum)
      for (size_t i = 0; i < x.size(); ++i) {
        const double scaled = static_cast<double>(x[i]) * scale;
        sum += scaled * scaled;
      }
      sums[p] = sum;
    }
  });
  return sums;
}
}  // namespace

double clip_grad_norm(const std::vector<Tensor>& parameters, double max_norm,
                      const std::function<std::vector<double>(const std::vector<double>&)>& gather) {
  require(max_norm >= 0, "clip_grad_norm", "a longest length of ", max_norm);
  std::vector<Tensor> gradients;
  std::vector<int64_t> sizes;
  for (const Tensor& parameter : parameters)
    if (Tensor gradient = parameter.grad(); gradient.defined()) {
      sizes.push_back(gradient.numel());
      gradients.push_back(std::move(gradient));
    }
  // The pieces' sums are added in their order: the same bits with any number of threads and processes.
  const auto norm_of = [&](double scale) {
    const std::vector<double> sums = gather(sums_of_squares(gradients, scale));
    return std::sqrt(std::accumulate(sums.begin(), sums.end(), 0.0)) / scale;
  };
  // A double holds the square of every float, but not that of every double: then once more, where it does.
  double norm = norm_of(1);
  if (std::isinf(norm)) norm = norm_of(0x1p-600);
  if (norm < 0x1p-500) norm = norm_of(0x1p600);
  const auto factor = static_cast<Scalar>(max_norm / (norm + 1e-6));
  if (factor >= 1) return norm;  // a NaN is not: it goes into every gradient, as one update would bring it everywhere
  parallel_for(sizes, [&](size_t i, int64_t begin, int64_t end) {
    Scalar* g = gradients[i].data();
#pragma omp simd
    for (int64_t k = begin; k < end; ++k) g[k] *= factor;
  });
  return norm;
}

}  // namespace difftensor::inline DT_PRECISION::optim
