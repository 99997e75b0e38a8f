// ops: what single operations cost, beside the best that the machine can do where that is known.
//
//   ops [NAME...] [--threads N] [--json FILE]      NAME: softmax, attention/4096, ...
//
// A line each: time of a call (the median of several samples), the rate at which the bytes or operations of its
// definition pass, and how many times the time of a native reference it took. tests/bench/pytorch_peer.py times the
// same in PyTorch.
#include "core/ops.h"

#include <cblas.h>
#include <malloc.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <set>
#include <thread>

#include "core/kernels/parallel.h"
#include "core/kernels/softmax.h"
#include "examples/text/corpus.h"
#include "core/fast_blas.h"
#include "optim/optimizer.h"
#include "tests/bench/bench.h"

namespace {

using namespace difftensor;

struct Arguments {
  std::vector<std::string> names;
  int threads = omp_get_num_procs();
  std::string json;
};

/// One line of the report.
struct Result {
  std::string name;
  double time;      // seconds of a call
  double work = 0;  // bytes or operations of a call, by its definition
  const char* unit = "";
  const char* reference = "";  // what does the same natively
  double reference_time = 0;
  std::string note = {};
  nlohmann::json more = nlohmann::json::object();  // for the record
};

/// Prints the results and keeps them.
class Report {
 public:
  explicit Report(const std::vector<std::string>& picks) : picks_(picks), unknown_(picks.begin(), picks.end()) {}

  /// Was this case, or all of its kind, asked for?
  bool wants(const std::string& name) {
    bool wanted = picks_.empty();
    for (const std::string& pick : picks_)
      if (name == pick || name.starts_with(pick + "/")) {
        unknown_.erase(pick);
        wanted = true;
      }
    return wanted;
  }
  void add(const Result& r) {
    nlohmann::ordered_json& record = records_[r.name] = r.more;
    record["ms"] = r.time * 1e3;
    std::printf("%-26s %10.4f ms", r.name.c_str(), r.time * 1e3);
    if (r.work > 0) {
      std::printf("  %7.1f %s", r.work / r.time / 1e9, r.unit);
      record["rate"] = r.work / r.time / 1e9, record["unit"] = r.unit;
    }
    if (r.reference_time > 0) {
      std::printf("  %.2f x %s (%.4f ms)", r.time / r.reference_time, r.reference, r.reference_time * 1e3);
      record["reference"] = r.reference, record["reference_ms"] = r.reference_time * 1e3;
      record["ratio"] = r.time / r.reference_time;
    }
    std::printf("%s%s\n", r.note.empty() ? "" : "  ", r.note.c_str());
    std::fflush(stdout);
  }
  /// Throws InputError if something was asked for that there is not.
  const nlohmann::ordered_json& records() const {
    if (!unknown_.empty())
      throw text::InputError("no operation " + *unknown_.begin() +
                             ": there are softmax, gemm, cross_entropy, linear_cross_entropy, rms_norm, adamw, "
                             "attention, diff_attention, chain, each also with a size after a slash");
    return records_;
  }

 private:
  const std::vector<std::string> picks_;
  std::set<std::string> unknown_;  // picks that no case has matched
  nlohmann::ordered_json records_ = nlohmann::ordered_json::object();
};

/// printf into a string, for notes.
std::string text(const char* format, double value) {
  char buffer[96];
  std::snprintf(buffer, sizeof buffer, format, value);
  return buffer;
}

Random& source() {
  static Random random(1);
  return random;
}
Tensor leaf(const Shape& shape) { return randn(shape, source()).requires_grad(); }

/// Forward and backward of f() in one call, the gradient of its result being `seed`. The leaves start without
/// gradients, as after zero_grad.
template <class F>
auto forward_backward(std::vector<Tensor> leaves, Tensor seed, F f) {
  return [leaves, seed, f] {
    for (const Tensor& x : leaves) x.zero_grad();
    f().backward(seed);
  };
}

// --- Rows of softmax, 256 MiB in and 256 MiB out, against copying them ----------------------------------------------

void softmax_rows(Report& report, int threads) {
  constexpr int64_t count = int64_t{1} << 26;
  for (const int64_t width : {64, 256, 1024, 4096, 8192}) {
    const std::string name = "softmax/" + std::to_string(width);
    if (!report.wants(name)) continue;
    const Tensor x = randn({count / width, width}, source());
    const bench::Pages y(count);
    auto copy = [&](int64_t grain) {
      parallel_for(count, grain, [&](int64_t begin, int64_t end) {
        std::memcpy(y.data() + begin, x.data() + begin, static_cast<size_t>(end - begin) * sizeof(Scalar));
      });
    };
    const std::vector<double> times = bench::time_calls(
        {[&] {
           NoGrad no_grad;
           softmax(x);
         },
         [&] {
           const int64_t grain = std::max<int64_t>(1, 16384 / width);
           parallel_for(count / width, grain, [&](int64_t begin, int64_t end) {
             for (int64_t row = begin; row < end; ++row)
               kernels::softmax_row(x.data() + row * width, y.data() + row * width, width);
           });
         },
         // A share at once for each thread, for which memcpy bypasses the caches, or a little at a time: the faster.
         [&] { copy((count + threads - 1) / threads); }, [&] { copy(16384); }});
    report.add({.name = name,
                .time = times[0],
                .work = 2.0 * count * sizeof(Scalar),
                .unit = "GB/s",
                .reference = "memcpy",
                .reference_time = std::min(times[2], times[3]),
                .note = text("the kernel alone: %.4f ms", times[1] * 1e3),
                .more = {{"kernel_ms", times[1] * 1e3}}});
  }
}

// --- Matrix products of a layer's shapes, against OpenBLAS on its own threads ---------------------------------------

void gemm(Report& report, int threads) {
  struct Product {
    int64_t M, N, K;
    const char* form;  // of a and b: N as they are, T transposed
  };
  // NT: x W^T. NN: the gradient of x. TN: the gradient of W, a sum over all tokens. 8000: the output layer.
  for (const Product& product :
       {Product{512, 128, 128, "NT"}, Product{512, 256, 128, "NT"}, Product{512, 128, 128, "NN"},
        Product{128, 128, 4096, "TN"}, Product{256, 128, 4096, "TN"}, Product{512, 8000, 128, "NT"},
        Product{1024, 1024, 1024, "NN"}}) {
    const int64_t M = product.M, N = product.N, K = product.K;
    const std::string form = product.form;
    const std::string name =
        "gemm/" + std::to_string(M) + "x" + std::to_string(N) + "x" + std::to_string(K) + "-" + form;
    if (!report.wants(name)) continue;
    const bool ta = form[0] == 'T', tb = form[1] == 'T';
    const Tensor a = randn(ta ? Shape{K, M} : Shape{M, K}, source());
    const Tensor b = randn(tb ? Shape{N, K} : Shape{K, N}, source());
    const bench::Pages c(M * N);
    const double time = bench::time_calls({[&] {
      NoGrad no_grad;
      matmul(a, b, ta, tb);
    }})[0];
    // Not in turns: OpenBLAS's threads and OpenMP's both spin for a while after their work, and would share the cores.
    const auto settle = [] { std::this_thread::sleep_for(std::chrono::milliseconds(200)); };
    settle();
    openblas_set_num_threads(threads);
    const double blas = bench::time_calls({[&] {
      const auto op = [](bool transposed) { return transposed ? CblasTrans : CblasNoTrans; };
      cblas_sgemm(CblasRowMajor, op(ta), op(tb), M, N, K, 1, a.data(), ta ? M : K, b.data(), tb ? K : N, 0, c.data(),
                  N);
    }})[0];
    openblas_set_num_threads(1);
    settle();
    report.add({.name = name,
                .time = time,
                .work = 2.0 * static_cast<double>(M * N * K),
                .unit = "GFLOP/s",
                .reference = "cblas_sgemm",
                .reference_time = blas});
  }
}

// --- Layers and the optimizer, forward and backward -----------------------------------------------------------------

// The loss by itself, and with the output layer that makes the logits.
void cross_entropy(Report& report) {
  constexpr int64_t N = 2048, D = 128, V = 8000;
  std::vector<int32_t> targets;
  for (int64_t i = 0; i < N; ++i) targets.push_back(static_cast<int32_t>(source().below(V)));
  CrossEntropyOptions options;
  options.label_smoothing = Scalar(0.1);
  if (const std::string name = "cross_entropy/2048x8000"; report.wants(name)) {
    const Tensor logits = leaf({N, V});
    const double time = bench::time_calls({forward_backward(
        {logits}, scalar(1), [&] { return difftensor::cross_entropy(logits, targets, options); })})[0];
    // The logits are read twice, and their gradient written.
    report.add({.name = name, .time = time, .work = 3.0 * N * V * sizeof(Scalar), .unit = "GB/s"});
  }
  if (const std::string name = "linear_cross_entropy/2048x128x8000"; report.wants(name)) {
    const Tensor x = leaf({N, D}), weight = leaf({V, D});
    const double time = bench::time_calls({forward_backward(
        {x, weight}, scalar(1), [&] { return linear_cross_entropy(x, weight, targets, options); })})[0];
    report.add({.name = name, .time = time, .work = 6.0 * N * D * V, .unit = "GFLOP/s"});
  }
}

void rms_norm(Report& report) {
  for (const auto& [rows, width] : {std::pair<int64_t, int64_t>{512, 128}, {65536, 512}}) {
    const std::string name = "rms_norm/" + std::to_string(rows) + "x" + std::to_string(width);
    if (!report.wants(name)) continue;
    const Tensor x = leaf({rows, width}), weight = leaf({width}), seed = randn({rows, width}, source());
    const double time =
        bench::time_calls({forward_backward({x, weight}, seed, [&] { return difftensor::rms_norm(x, weight); })})[0];
    // Forward x -> y; backward x, dy -> dx.
    const double bytes = 5.0 * static_cast<double>(rows * width) * sizeof(Scalar);
    report.add({.name = name, .time = time, .work = bytes, .unit = "GB/s"});
  }
}

void adamw(Report& report) {
  if (!report.wants("adamw/10M")) return;
  std::vector<Tensor> parameters;
  for (int i = 0; i < 40; ++i) {
    parameters.push_back(leaf({500, 500}));
    sum(parameters.back()).backward();  // a gradient of ones
  }
  optim::AdamW optimizer({{parameters, 0.01}}, 1e-3);
  const double time = bench::time_calls({[&] { optimizer.step(); }})[0];
  // The parameter and its two moments are read and written, the gradient read.
  report.add({.name = "adamw/10M", .time = time, .work = 7.0 * 10e6 * sizeof(Scalar), .unit = "GB/s"});
}

/// What the engine itself costs: 1,000 operations too small to matter.
void chain(Report& report) {
  if (!report.wants("chain/1000")) return;
  const Tensor x = leaf({8, 8}), w = ones({8, 8}).requires_grad(), b = leaf({8, 8});
  const double time = bench::time_calls({forward_backward({x, w, b}, scalar(1), [&] {
    Tensor y = x;
    for (int i = 0; i < 500; ++i) y = y * w + b;
    return sum(y);
  })})[0];
  report.add({.name = "chain/1000",
              .time = time,
              .note = text("%.3f us for an operation and its gradient", time * 1e6 / 1000)});
}

// --- Attention, causal, 8 heads (or pairs) of width 64, forward and backward ----------------------------------------

// The most memory that a first call takes beyond its inputs, result and gradients: the rise of the resident set, by the
// kernel's own count, so that nothing is overlooked. It runs on a new thread, for which OpenMP starts new workers: all
// of them with empty scratch.
template <class F>
double extra_mib(F call, int64_t outputs) {
  release_cached_memory();
  malloc_trim(0);  // else the call would take what malloc still holds, and too little be seen
  double extra = 0;
  std::thread([&, threads = omp_get_max_threads()] {
    omp_set_num_threads(threads);
    const double before = bench::status_mib("VmRSS");
    bench::reset_peak_memory();
    call();
    extra = bench::status_mib("VmHWM") - before - static_cast<double>(outputs) * sizeof(Scalar) / (1 << 20);
  }).join();
  return extra;
}

void attention(Report& report, bool differential) {
  constexpr int64_t h = 8, d = 64;
  const int64_t maps = differential ? 2 : 1, e = differential ? 2 * d : d;
  for (const auto& [T, B] : {std::pair<int64_t, int64_t>{16, 256}, {128, 32}, {1024, 2}, {4096, 1}}) {
    const std::string name = (differential ? "diff_attention/" : "attention/") + std::to_string(T);
    if (!report.wants(name)) continue;
    const int64_t N = B * T;
    const Tensor q = leaf({N, h * maps * d}), k = leaf({N, h * maps * d}), v = leaf({N, h * e});
    const Tensor lambda = full({1}, Scalar(0.5)).requires_grad(), seed = randn({N, h * e}, source());
    const Spans spans = packed_spans(std::vector<int64_t>(B, T));
    const AttentionLayout layout{h, spans, spans, true};
    auto call = forward_backward({q, k, v, lambda}, seed, [&] {
      return differential ? diff_attention(q, k, v, lambda, layout) : difftensor::attention(q, k, v, layout);
    });
    // The result is as large as v; every input has a gradient.
    const double extra = extra_mib(call, q.numel() + k.numel() + 2 * v.numel());
    const double time = bench::time_calls({call})[0];
    // Products for each pair of positions and head: Q K^T of each map and A V, and backward two for each of them. Maps
    // that are computed again are not counted.
    const double flops = 6.0 * (maps * d + e) * h * B * (T * (T + 1) / 2);
    report.add({.name = name,
                .time = time,
                .work = flops,
                .unit = "GFLOP/s",
                .note = text("%.1f MiB beyond inputs, result and gradients (resident set)", extra),
                .more = {{"extra_mib", extra}}});
  }
}

void measure(const Arguments& a) {
  omp_set_num_threads(a.threads);
  bench::gemm_peak(a.threads);  // OpenBLAS's buffers, one for each thread, are there before memory is measured
  Report report(a.names);
  attention(report, true);  // first, in what is nearly a new process
  attention(report, false);
  softmax_rows(report, a.threads);
  gemm(report, a.threads);
  cross_entropy(report);
  rms_norm(report);
  adamw(report);
  chain(report);
  bench::keep(a.json, {{"program", "ops"}, {"threads", a.threads}, {"operations", report.records()}});
}

}  // namespace

int main(int argc, char** argv) {
  difftensor::ensure_fast_blas(argv);
  Arguments a;
  CLI::App app("Measures single operations.", "ops");
  app.add_option("names", a.names, "which, such as softmax or attention/4096 [all]");
  app.add_option("--threads", a.threads, "")->capture_default_str()->check(bench::positive);
  app.add_option("--json", a.json, "keep a record");
  return bench::run(app, argc, argv, [&] { measure(a); });
}
