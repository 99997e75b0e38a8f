// Cross entropy: the loss of predicting a class, from logits or straight from what the output layer reads.
#include <cmath>
#include <limits>

#include "core/kernels/gemm.h"
#include "core/kernels/packed_weights.h"
#include "core/kernels/softmax.h"
#include "core/ops.h"

namespace difftensor::inline DT_PRECISION {
namespace {

// The smoothed target of a row is q_v = (1 - s) [v = target] + s / V. With p the softmax of x, and all logits taken
// relative to the largest, so that a large common offset costs no digits:
//   -log p_v = log_sum + (max - x_v),   log_sum = log sum_v exp(x_v - max)
//   loss = -sum_v q_v log p_v = log_sum + (1 - s) (max - x_target) + s mean(max - x),   dloss/dx_v = p_v - q_v,
// because log_sum has the derivative p_v, and the other two terms have -q_v (what max adds cancels).
// All three terms of the loss are >= 0: nothing cancels. log_sum is log1p(rest), with rest what the exponentials sum to
// besides the largest, which is 1. In the same way the gradient of the target has 1 - p_v as a sum of what is small:
// the loss and the gradient of a sure prediction, of 1e-9 say, do not round to 0.
struct SmoothedTargets {
  const std::vector<int32_t>& ids;
  int64_t V, normalizer;
  Scalar smoothing;
  int32_t ignore;

  SmoothedTargets(const char* op, const std::vector<int32_t>& targets, int64_t classes,
                  const CrossEntropyOptions& options)
      : ids(targets), V(classes), smoothing(options.label_smoothing), ignore(options.ignore_index) {
    require(smoothing >= 0 && smoothing < 1, op, "label smoothing ", smoothing, " is not in [0, 1)");
    int64_t counted = 0;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] == ignore) continue;
      require(ids[i] >= 0 && ids[i] < V, op, "target ", ids[i], " (number ", i, ") of ", V, " classes");
      ++counted;
    }
    normalizer = options.normalizer ? options.normalizer : counted;
    require(normalizer > 0, op, "no targets to average over");
  }

  struct Loss {
    double smoothed = 0, nll = 0;
  };
  // exp(x - max) of row r of the logits in y's place (which may be x's), and what it sums to; its loss.
  struct Row {
    Scalar sum;
    double rest;
    Loss loss;
  };
  Row row(int64_t r, const Scalar* x, Scalar* y) const {
    const bool counts = ids[r] != ignore;
    const double target = counts ? x[ids[r]] : 0;
    constexpr Scalar infinity = std::numeric_limits<Scalar>::infinity();
    const Scalar top = kernels::row_max(x, V), origin = top == -infinity ? 0 : top;
    // Both sums in the loop that computes exp, which they do not slow down: by runs, as in kernels::sum_of().
    double total = 0, below_all = 0;  // of y; of max - x, not used without smoothing: logits may be -inf
    for (int64_t begin = 0; begin < V; begin += kernels::sum_run) {
      const int64_t end = std::min(V, begin + kernels::sum_run);
      Scalar y_sum = 0, below_sum = 0;
#pragma omp simd reduction(+ : y_sum, below_sum)
      for (int64_t v = begin; v < end; ++v) {
        const Scalar below = origin - x[v];
        y[v] = kernels::exp_nonpositive(-below);
        y_sum += y[v];
        below_sum += below;
      }
      total += static_cast<double>(y_sum), below_all += static_cast<double>(below_sum);
    }
    const auto sum = static_cast<Scalar>(total);
    const double rest = kernels::rest_of_sum(y, V, sum);
    if (!counts) return {sum, rest, {}};
    const double s = smoothing, log_sum = std::log1p(rest), below = static_cast<double>(top) - target;
    const double smoothed = s == 0 ? below : (1 - s) * below + s * (below_all / static_cast<double>(V));
    return {sum, rest, {log_sum + smoothed, log_sum + below}};
  }
  // Turns y, exp(x - max) of row r, into the row's gradient times scale: y_v / sum - q_v, with the target's as
  // p - q = s (1 - 1 / V) - (1 - p), and 1 - p = ((1 - y) + rest) / sum.
  void gradient(int64_t r, Scalar sum, double rest, Scalar scale, Scalar* y) const {
    if (ids[r] == ignore) return std::fill_n(y, V, Scalar{0}), void();
    const double s = smoothing, even = s / static_cast<double>(V);
    const double others = (1 - static_cast<double>(y[ids[r]]) + rest) / static_cast<double>(sum);
    const Scalar y_scale = scale * (1 / sum), spread = static_cast<Scalar>(scale * even);
#pragma omp simd
    for (int64_t v = 0; v < V; ++v) y[v] = y[v] * y_scale - spread;
    y[ids[r]] = static_cast<Scalar>(scale * (s - even - others));
  }
  // The result of the op, from the losses of all rows. Summed in double: a float would lose the last digits of
  // thousands.
  Tensor result(const std::vector<Loss>& losses, const CrossEntropyOptions& options) const {
    double smoothed = 0, nll = 0;
    for (const Loss& loss : losses) smoothed += loss.smoothed, nll += loss.nll;
    if (options.nll) *options.nll = nll;
    return scalar(static_cast<Scalar>(smoothed / static_cast<double>(normalizer)));
  }
};

}  // namespace

Tensor cross_entropy(const Tensor& logits, const std::vector<int32_t>& targets, const CrossEntropyOptions& options) {
  require(logits.rank() == 2 && logits.shape()[0] == static_cast<int64_t>(targets.size()), "cross_entropy", "logits ",
          logits.shape(), " for ", targets.size(), " targets");
  const int64_t rows = logits.shape()[0], V = logits.shape()[1];
  const SmoothedTargets smoothed("cross_entropy", targets, V, options);
  std::vector<SmoothedTargets::Loss> losses(rows);
  parallel_for(rows, row_grain(V), [&](int64_t begin, int64_t end) {
    Storage exps(V);
    for (int64_t r = begin; r < end; ++r) losses[r] = smoothed.row(r, logits.data() + r * V, exps.data()).loss;
  });
  // dx_v += dy (p_v - q_v) / normalizer
  return record("cross_entropy", smoothed.result(losses, options), {logits},
                [x = logits.storage(), targets, options, rows, V](const Gradients& g) {
                  const SmoothedTargets again("cross_entropy", targets, V, options);
                  const Scalar scale = *g.out / static_cast<Scalar>(again.normalizer);
                  Scalar* dx = g.buffer(0);
                  parallel_for(rows, row_grain(V), [&](int64_t begin, int64_t end) {
                    Storage exps(V);
                    Scalar* y = exps.data();
                    for (int64_t r = begin; r < end; ++r) {
                      const SmoothedTargets::Row row = again.row(r, x.data() + r * V, y);
                      again.gradient(r, row.sum, row.rest, scale, y);
#pragma omp simd
                      for (int64_t v = 0; v < V; ++v) dx[r * V + v] += y[v];
                    }
                  });
                },
                {{logits}});
}

Tensor linear_cross_entropy(const Tensor& x, const Tensor& weight, const std::vector<int32_t>& targets,
                            const CrossEntropyOptions& options) {
  require(x.rank() == 2 && weight.rank() == 2 && x.shape()[1] == weight.shape()[1] &&
              x.shape()[0] == static_cast<int64_t>(targets.size()),
          "linear_cross_entropy", "x ", x.shape(), " and weight ", weight.shape(), " for ", targets.size(), " targets");
  const int64_t rows = x.shape()[0], D = x.shape()[1], V = weight.shape()[0];
  const SmoothedTargets smoothed("linear_cross_entropy", targets, V, options);
  std::vector<SmoothedTargets::Loss> losses(rows);
  const bool parameter = is_registered(weight);  // others may soon die: packing them would not pay
  const bool wants_dx = grad_enabled() && x.needs_grad(), wants_dw = grad_enabled() && weight.needs_grad();
  Storage dx(wants_dx ? rows * D : 0), dw(wants_dw ? V * D : 0);
  if (rows == 0) std::fill_n(dw.data(), dw.size(), Scalar{0});

  // A chunk of rows at a time: its logits, their losses, and, while they are there, their gradient and what follows
  // from it: with G = (p - q) / normalizer, dx = G W and dW += G^T x. backward() then only has to scale by dy.
  constexpr int64_t chunk = 512, tile = 256;
  Storage scratch(std::min(rows, chunk) * V);
  for (int64_t first = 0; first < rows; first += chunk) {
    const int64_t count = std::min(chunk, rows - first);
    parallel_for(count, tile, [&](int64_t begin, int64_t end) {
      Scalar* logits = scratch.data() + begin * V;
      kernels::weight_gemm(true, end - begin, V, D, x.data() + (first + begin) * D, weight.storage(), parameter, false,
                           logits);
      for (int64_t r = begin; r < end; ++r) {
        Scalar* row = scratch.data() + r * V;
        const SmoothedTargets::Row sums = smoothed.row(first + r, row, row);
        losses[first + r] = sums.loss;
        if (wants_dx || wants_dw)
          smoothed.gradient(first + r, sums.sum, sums.rest, 1 / static_cast<Scalar>(smoothed.normalizer), row);
      }
      if (wants_dx)
        kernels::weight_gemm(false, end - begin, D, V, logits, weight.storage(), parameter, false,
                             dx.data() + (first + begin) * D);
    });
    if (wants_dw)
      kernels::parallel_gemm(true, false, V, D, count, scratch.data(), x.data() + first * D, first > 0, dw.data());
  }
  return record("linear_cross_entropy", smoothed.result(losses, options), {x, weight},
                [dx, dw](const Gradients& g) {
                  for (Storage d : {dx, dw})
                    if (*g.out != 1)
                      parallel_for(d.size(), [d = d.data(), dy = *g.out](int64_t begin, int64_t end) {
#pragma omp simd
                        for (int64_t i = begin; i < end; ++i) d[i] *= dy;
                      });
                  g.add(0, dx);
                  g.add(1, dw);
                },
                {});
}

}  // namespace difftensor::inline DT_PRECISION
