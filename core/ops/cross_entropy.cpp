// Cross entropy: the loss of predicting a class, from logits or straight from what the output layer reads.
#include "core/kernels/gemm.h"
#include "core/kernels/packed_weights.h"
#include "core/kernels/softmax.h"
#include "core/ops.h"

namespace difftensor::inline DT_PRECISION {
namespace {

// The smoothed target of a row is q_v = (1 - s) [v = target] + s / V, so with log p_v = x_v - log_sum, where p is the
// softmax of x,
//   loss = -sum_v q_v log p_v = log_sum - (1 - s) x_target - s mean(x),   dloss/dx_v = p_v - q_v,
// because log_sum = log sum_v exp(x_v) has the derivative p_v, and the other two terms have -q_v.
struct SmoothedTargets {
  const std::vector<int32_t>& ids;
  int64_t V, normalizer;
  Scalar smoothing;
  int32_t ignore;

  SmoothedTargets(const char* op, const std::vector<int32_t>& ids, int64_t V, const CrossEntropyOptions& options)
      : ids(ids), V(V), smoothing(options.label_smoothing), ignore(options.ignore_index) {
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
    Scalar smoothed = 0, nll = 0;
  };
  // The loss of row r, given log_sum and two facts about its logits x: x_target, and their sum (not used without
  // smoothing, so that logits of -inf are allowed).
  Loss loss(int64_t r, Scalar x_target, Scalar sum, Scalar log_sum) const {
    if (ids[r] == ignore) return {};
    const Scalar nll = log_sum - x_target;
    return {smoothing == 0 ? nll : (1 - smoothing) * nll + smoothing * (log_sum - sum / static_cast<Scalar>(V)), nll};
  }
  Scalar target_of(int64_t r, const Scalar* x) const { return ids[r] == ignore ? 0 : x[ids[r]]; }
  // Turns row r of exp(x), of which p_scale makes the softmax, into its gradient: p_v = scale (p_scale p_v - q_v).
  void gradient(int64_t r, Scalar p_scale, Scalar scale, Scalar* p) const {
    if (ids[r] == ignore) return std::fill_n(p, V, Scalar{0}), void();
    const Scalar even = scale * smoothing / static_cast<Scalar>(V);
    p_scale *= scale;
#pragma omp simd
    for (int64_t v = 0; v < V; ++v) p[v] = p[v] * p_scale - even;
    p[ids[r]] -= scale * (1 - smoothing);
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
  Storage log_sums(rows);
  std::vector<SmoothedTargets::Loss> losses(rows);
  parallel_for(rows, row_grain(V), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const Scalar* x = logits.data() + r * V;
      log_sums.data()[r] = kernels::log_sum_exp(x, V);
      losses[r] = smoothed.loss(r, smoothed.target_of(r, x), kernels::row_sum(x, V), log_sums.data()[r]);
    }
  });
  // dx_v += dy (p_v - q_v) / normalizer
  return record("cross_entropy", smoothed.result(losses, options), {logits},
                [x = logits.storage(), log_sums, targets, options, rows, V](const Gradients& g) {
                  const SmoothedTargets smoothed("cross_entropy", targets, V, options);
                  const Scalar scale = *g.out / static_cast<Scalar>(smoothed.normalizer);
                  Scalar* dx = g.buffer(0);
                  parallel_for(rows, row_grain(V), [&](int64_t begin, int64_t end) {
                    std::vector<Scalar> row(V);
                    for (int64_t r = begin; r < end; ++r) {
                      const Scalar *xr = x.data() + r * V, log_sum = log_sums.data()[r];
#pragma omp simd
                      for (int64_t v = 0; v < V; ++v) row[v] = kernels::exp(xr[v] - log_sum);
                      smoothed.gradient(r, 1, scale, row.data());
#pragma omp simd
                      for (int64_t v = 0; v < V; ++v) dx[r * V + v] += row[v];
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
  const bool parameter = weight.is_parameter();
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
        const Scalar x_target = smoothed.target_of(first + r, row), sum = kernels::row_sum(row, V);
        const kernels::ExpRow e = kernels::exp_row(row, row, V);
        losses[first + r] = smoothed.loss(first + r, x_target, sum, e.max + std::log(e.sum));
        if (wants_dx || wants_dw)
          smoothed.gradient(first + r, 1 / e.sum, 1 / static_cast<Scalar>(smoothed.normalizer), row);
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
