// Softmax, and the losses made of it.
#include "core/kernels/softmax.h"

#include "core/ops.h"

namespace difftensor::inline DT_PRECISION {
namespace {
int64_t last_axis(const char* op, const Tensor& x) {
  require(x.rank() >= 1, op, "a scalar has no axis to normalise over");
  return x.shape().back();
}
// Rows for one thread at a time: about 16,384 elements.
int64_t row_grain(int64_t width) { return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, width)); }
}  // namespace

Tensor softmax(const Tensor& x) {
  const int64_t width = last_axis("softmax", x), rows = width ? x.numel() / width : 0;
  Tensor out(x.shape());
  parallel_for(rows, row_grain(width), [=, x = x.data(), y = out.data()](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) kernels::softmax_row(x + r * width, y + r * width, width);
  });
  // dx_i += y_i (dy_i - sum_j dy_j y_j)
  return record("softmax", out, {x}, [y = out.storage(), rows, width](const Gradients& g) {
    Scalar* dx = g.in(0);
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
  });
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
  // dx_i += dy_i - exp(y_i) sum_j dy_j
  return record("log_softmax", out, {x}, [y = out.storage(), rows, width](const Gradients& g) {
    Scalar* dx = g.in(0);
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
  });
}

Tensor cross_entropy(const Tensor& logits, const std::vector<int32_t>& targets, const CrossEntropyOptions& options) {
  require(logits.rank() == 2 && logits.shape()[0] == static_cast<int64_t>(targets.size()), "cross_entropy", "logits ",
          logits.shape(), " for ", targets.size(), " targets");
  const int64_t rows = logits.shape()[0], V = logits.shape()[1];
  const Scalar smoothing = options.label_smoothing;
  require(smoothing >= 0 && smoothing < 1, "cross_entropy", "label smoothing ", smoothing, " is not in [0, 1)");
  int64_t counted = 0;
  for (size_t i = 0; i < targets.size(); ++i) {
    if (targets[i] == options.ignore_index) continue;
    require(targets[i] >= 0 && targets[i] < V, "cross_entropy", "target ", targets[i], " (number ", i, ") of ", V,
            " classes");
    ++counted;
  }
  const int64_t normalizer = options.normalizer ? options.normalizer : counted;
  require(normalizer > 0, "cross_entropy", "no targets to average over");

  // The smoothed target is q_v = (1 - s) [v = target] + s / V, so with log p_v = x_v - log_sum
  //   -sum_v q_v log p_v = log_sum - (1 - s) x_target - s mean(x).
  Storage log_sum(rows), loss(rows);
  parallel_for(rows, row_grain(V), [&](int64_t begin, int64_t end) {
    std::vector<Scalar> scratch(V);
    for (int64_t r = begin; r < end; ++r) {
      const Scalar* x = logits.data() + r * V;
      const kernels::ExpRow row = kernels::exp_row(x, scratch.data(), V);
      log_sum.data()[r] = row.max + std::log(row.sum);
      Scalar total = 0;
#pragma omp simd reduction(+ : total)
      for (int64_t v = 0; v < V; ++v) total += x[v];
      loss.data()[r] = targets[r] == options.ignore_index ? 0
                                                          : log_sum.data()[r] - (1 - smoothing) * x[targets[r]] -
                                                                smoothing * total / static_cast<Scalar>(V);
    }
  });
  double total = 0, nll = 0;  // in double: a float would lose the last digits of a sum of thousands
  for (int64_t r = 0; r < rows; ++r) {
    total += loss.data()[r];
    if (targets[r] != options.ignore_index) nll += log_sum.data()[r] - logits.data()[r * V + targets[r]];
  }
  if (options.nll) *options.nll = nll;
  Tensor out = scalar(static_cast<Scalar>(total / static_cast<double>(normalizer)));

  // dx_v += dy (p_v - q_v) / normalizer
  return record("cross_entropy", out, {logits},
                [x = logits.storage(), log_sum, targets, ignore = options.ignore_index, smoothing, normalizer, rows,
                 V](const Gradients& g) {
                  Scalar* dx = g.in(0);
                  const Scalar scale = *g.out / static_cast<Scalar>(normalizer);
                  const Scalar even = smoothing / static_cast<Scalar>(V);
                  parallel_for(rows, row_grain(V), [&](int64_t begin, int64_t end) {
                    for (int64_t r = begin; r < end; ++r) {
                      if (targets[r] == ignore) continue;
                      const Scalar *xr = x.data() + r * V, ls = log_sum.data()[r];
                      Scalar* dxr = dx + r * V;
#pragma omp simd
                      for (int64_t v = 0; v < V; ++v) dxr[v] += scale * (kernels::exp(xr[v] - ls) - even);
                      dxr[targets[r]] -= scale * (1 - smoothing);
                    }
                  });
                });
}

}  // namespace difftensor::inline DT_PRECISION
