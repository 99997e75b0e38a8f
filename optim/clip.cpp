#include "optim/clip.h"

#include <cmath>

#include "core/kernels/parallel.h"

namespace difftensor::inline DT_PRECISION::optim {
namespace {
// The sum of (scale x)^2 over all elements, in double. Pieces are summed in parallel, and their sums added in order: the
// same bits with any number of threads.
double sum_of_squares(const std::vector<Tensor>& gradients, double scale) {
  constexpr int64_t piece = 8192;
  struct Piece {
    const Scalar* x;
    int64_t size;
    double sum;
  };
  std::vector<Piece> pieces;
  for (const Tensor& gradient : gradients)
    for (int64_t i = 0; i < gradient.numel(); i += piece)
      pieces.push_back({gradient.data() + i, std::min(piece, gradient.numel() - i), 0});
  parallel_for(static_cast<int64_t>(pieces.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      double sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = 0; i < pieces[p].size; ++i) {
        const double scaled = static_cast<double>(pieces[p].x[i]) * scale;
        sum += scaled * scaled;
      }
      pieces[p].sum = sum;
    }
  });
  double total = 0;
  for (const Piece& p : pieces) total += p.sum;
  return total;
}
}  // namespace

double clip_grad_norm(const std::vector<Tensor>& parameters, double max_norm) {
  require(max_norm >= 0, "clip_grad_norm", "a longest length of ", max_norm);
  std::vector<Tensor> gradients;
  std::vector<int64_t> sizes;
  for (const Tensor& parameter : parameters)
    if (Tensor gradient = parameter.grad(); gradient.defined()) {
      sizes.push_back(gradient.numel());
      gradients.push_back(std::move(gradient));
    }
  const auto norm_of = [&](double scale) { return std::sqrt(sum_of_squares(gradients, scale)) / scale; };
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
