// train_throughput: how many tokens a second training takes, and how close that is to the machine's limit.
//
//   train_throughput --ids-src F --ids-tgt F [--preset tiny|small] [--attention softmax|diff|diff-v2] [--threads N]
//
// tests/bench/pytorch_peer.py trains the same model in PyTorch: on the same batches in the same order, with the same
// loss, clipping and optimizer, and counts tokens alike.
#include <omp.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <numeric>

#include "core/fast_blas.h"
#include "core/parallel_backward.h"
#include "core/safetensors.h"
#include "examples/translate/data.h"
#include "optim/clip.h"
#include "optim/optimizer.h"
#include "tests/bench/bench.h"
#include "tests/bench/model.h"

namespace {

using namespace difftensor;
using text::InputError;
using translate::Batch;

struct Arguments {
  std::string ids_src, ids_tgt, preset = "tiny", attention = "diff", init, save, json;
  int threads = omp_get_num_procs(), steps = 30, warmup = 5;
  int64_t batch_tokens = 4096, micro_tokens = 256;
  bool profile = false;
};

translate::Examples read_examples(const Arguments& a) {
  auto sources = bench::read_ids(a.ids_src), targets = bench::read_ids(a.ids_tgt);
  if (sources.size() != targets.size())
    throw InputError(a.ids_src + " has " + std::to_string(sources.size()) + " sentences, " + a.ids_tgt + " " +
                     std::to_string(targets.size()));
  translate::Examples examples;
  for (size_t i = 0; i < sources.size(); ++i) {
    sources[i].push_back(bench::eos);
    targets[i].insert(targets[i].begin(), bench::bos);
    targets[i].push_back(bench::eos);
    examples.add(sources[i], targets[i]);
  }
  return examples;
}

/// Multiply-adds of the forward pass's matrix products, for each source and each target token: every weight matrix
/// meets every token of its side once. The encoder's see the source, and so do the decoder's cross-attention keys and
/// values; the embedding, as output layer, sees the target. Attention's own products (Q K^T, A V) are not counted: they
/// depend on the lengths, and are 1 or 2% of the whole at those of captions.
struct MultiplyAdds {
  int64_t source = 0, target = 0;
  explicit MultiplyAdds(const models::Transformer& model) {
    for (const auto& [name, parameter] : model.named_parameters()) {
      if (parameter.rank() != 2) continue;
      const bool memory = name.find("cross_attn.k_proj") != name.npos || name.find("cross_attn.v_proj") != name.npos;
      (name.starts_with("encoder.") || memory ? source : target) += parameter.numel();
    }
  }
};

/// What an update's time was spent on, in seconds.
struct Times {
  PassTimes pass;
  double alone;      // one thread: cutting the batch into pieces
  double passes;     // forward and backward passes, as long as they took
  double optimizer;  // clipping and AdamW, by all threads, loop after loop
};

/// The sum over updates, and what it says about more threads.
struct Profile {
  std::vector<Times> updates;
  void add(Times times) { updates.push_back(std::move(times)); }

  /// How long the updates would take on so many threads. Parts begin in their order, each on the first thread that is
  /// free, none before the one `threads` ahead is done, as in
  /// core/parallel_backward.cpp. Packing, adding and the optimizer are
  /// shared out evenly; what one thread did alone stays. That threads share caches and memory is left out.
  double predicted(int measured_threads, int threads, double* imbalance) const {
    double total = 0, busy = 0, longest = 0;
    for (const Times& t : updates) {
      std::vector<double> free(threads, 0), done;
      double all_before = 0;  // the time when all parts are done that the next one waits for
      for (size_t i = 0; i < t.pass.parts.size(); ++i) {
        if (i >= static_cast<size_t>(threads)) all_before = std::max(all_before, done[i - threads]);
        double& first = *std::min_element(free.begin(), free.end());
        done.push_back(first = std::max(first, all_before) + t.pass.parts[i]);
        busy += t.pass.parts[i];
      }
      const double end = *std::max_element(done.begin(), done.end());
      longest += end;
      total += end + (t.pass.packing + t.pass.adding) / threads + t.optimizer * measured_threads / threads + t.alone;
    }
    *imbalance = 1 - busy / (threads * longest);
    return total;
  }

  void print(int threads) const {
    double alone = 0, passes = 0, optimizer = 0, count_of_parts = 0, parts = 0, packing = 0, adding = 0, waiting = 0;
    for (const Times& t : updates) {
      count_of_parts += static_cast<double>(t.pass.parts.size());
      alone += t.alone, passes += t.passes, optimizer += t.optimizer;
      packing += t.pass.packing, adding += t.pass.adding, waiting += t.pass.waiting;
      parts = std::accumulate(t.pass.parts.begin(), t.pass.parts.end(), parts);
    }
    const double all = alone + passes + optimizer, count = static_cast<double>(updates.size());
    const auto line = [&](const char* what, double seconds, double of) {
      std::printf("  %-46s %8.2f ms %6.1f%%\n", what, 1000 * seconds / count, 100 * seconds / of);
    };
    std::printf("an update on %d threads, %.1f parts:\n", threads, count_of_parts / count);
    line("in all", all, all);
    line("forward and backward passes", passes, all);
    line("clipping and optimizer", optimizer, all);
    line("alone: one thread, cutting the batch", alone, all);
    std::printf("of the threads' time in the passes:\n");
    line("in parts", parts, threads * passes);
    line("packing weights", packing, threads * passes);
    line("adding gradients", adding, threads * passes);
    line("waiting", waiting, threads * passes);
    double imbalance;
    const double one = predicted(threads, 1, &imbalance);
    for (int n : {1, 2, 4, 8, 16, 32}) {
      const double seconds = predicted(threads, n, &imbalance);
      std::printf("%3d threads, predicted: %8.2f ms, speed-up %5.2f, %4.1f%% idle between unequal parts%s\n", n,
                  1000 * seconds / count, one / seconds, 100 * imbalance,
                  n == threads ? " (measured: in all, above)" : "");
    }
  }
};

/// One update; returns the batch's loss. As examples/training/loop.cpp does it: the batch is shared out in a fixed
/// number of parts, each computed a micro-batch at a time.
double update(models::Transformer& model, optim::Optimizer& optimizer, const Batch& batch, int64_t micro_tokens,
              Profile& profile) {
  const double start = bench::seconds();
  CrossEntropyOptions options;
  options.label_smoothing = Scalar(0.1);
  options.normalizer = static_cast<int64_t>(batch.target_out.size());
  const std::vector<Batch> pieces = translate::micro_batches(batch, micro_tokens);
  std::vector<double> losses(pieces.size());
  model.zero_grad();
  const double prepared = bench::seconds();
  const PassTimes pass = bench::backward_by_parts(static_cast<int64_t>(pieces.size()), [&](int64_t i) {
    const Batch& b = pieces[i];
    Tensor loss = model.loss(b.source, b.source_lengths, b.target_in, b.target_lengths, b.target_out, options);
    loss.backward();
    losses[i] = loss.item();
  });
  const double passed = bench::seconds();
  optim::clip_grad_norm(model.parameters(), 1);
  optimizer.step();
  const double end = bench::seconds();
  profile.add({pass, prepared - start, passed - prepared, end - passed});
  return std::accumulate(losses.begin(), losses.end(), 0.0);
}

void measure(const Arguments& a) {
  omp_set_num_threads(a.threads);
  const translate::Examples examples = read_examples(a);
  int64_t vocab = 8000;
  for (const int32_t id : examples.ids()) vocab = std::max<int64_t>(vocab, id + 1);
  std::vector<Batch> batches;
  for (const auto& selection : translate::sorted_batches(examples, a.batch_tokens))
    batches.push_back(translate::make_batch(examples, selection));

  Random random(1);
  models::Transformer model(bench::preset(a.preset, a.attention, vocab), random);
  if (!a.init.empty()) model.load_state_dict(load_safetensors(a.init).tensors);
  optim::AdamW optimizer({{model.parameters(), 0.01}}, 1e-3, {0.9, 0.98, 1e-8});
  const MultiplyAdds multiply_adds(model);

  double peak = bench::gemm_peak(a.threads);
  bench::reset_peak_memory();
  double loss = 0, start = 0;
  Profile profile;
  int64_t sources = 0, targets = 0;
  for (int step = 0; step < a.warmup + a.steps; ++step) {
    if (step == a.warmup) start = bench::seconds();
    const Batch& batch = batches[37 * static_cast<size_t>(step) % batches.size()];
    if (step == a.warmup) profile = {};
    loss = update(model, optimizer, batch, a.micro_tokens, profile);
    if (step < a.warmup) continue;
    sources += static_cast<int64_t>(batch.source.size());
    targets += static_cast<int64_t>(batch.target_out.size());
  }
  const double elapsed = bench::seconds() - start, rss = bench::status_mib("VmHWM");
  peak = std::max(peak, bench::gemm_peak(a.threads));

  // A multiply-add is two operations, and the backward pass does each product of the forward pass twice: once for the
  // gradient of either factor. What is computed again to save memory is not counted.
  const double gflops =
      6.0 * static_cast<double>(sources * multiply_adds.source + targets * multiply_adds.target) / elapsed / 1e9;
  const double rate = static_cast<double>(sources + targets) / elapsed;
  std::printf(
      "difftensor preset=%s attention=%s threads=%d params=%ld steps=%d loss=%.3f tokens/s=%.0f peak_rss_mib=%.0f "
      "gflops=%.1f peak_fraction=%.3f\n",
      a.preset.c_str(), a.attention.c_str(), a.threads, model.parameter_count(), a.steps, loss, rate, rss, gflops,
      gflops / peak);
  if (a.profile) profile.print(a.threads);
  if (!a.save.empty()) save_safetensors(a.save, {model.state_dict(), {}, {}});
  bench::keep(a.json, {{"program", "train_throughput"},
                       {"preset", a.preset},
                       {"attention", a.attention},
                       {"threads", a.threads},
                       {"batch_tokens", a.batch_tokens},
                       {"micro_tokens", a.micro_tokens},
                       {"vocab", vocab},
                       {"params", model.parameter_count()},
                       {"steps", a.steps},
                       {"warmup", a.warmup},
                       {"seconds", elapsed},
                       {"source_tokens", sources},
                       {"target_tokens", targets},
                       {"multiply_adds_per_source_token", multiply_adds.source},
                       {"multiply_adds_per_target_token", multiply_adds.target},
                       {"loss", loss},
                       {"tokens_per_second", rate},
                       {"peak_rss_mib", rss},
                       {"gflops", gflops},
                       {"gemm_peak_gflops", peak},
                       {"peak_fraction", gflops / peak}});
}

}  // namespace

int main(int argc, char** argv) {
  difftensor::ensure_fast_blas(argv);
  Arguments a;
  CLI::App app("Measures training: tokens a second, memory, and the fraction of the machine's GEMM peak.",
               "train_throughput");
  app.add_option("--ids-src", a.ids_src, "token ids, a sentence a line, plain or .gz: source")->required();
  app.add_option("--ids-tgt", a.ids_tgt, "and target")->required();
  app.add_option("--preset", a.preset, "tiny or small")->capture_default_str();
  app.add_option("--attention", a.attention, "softmax, diff or diff-v2")->capture_default_str();
  app.add_option("--threads", a.threads, "")->capture_default_str()->check(bench::positive);
  app.add_option("--steps", a.steps, "updates to measure")->capture_default_str()->check(bench::positive);
  app.add_option("--warmup", a.warmup, "updates before them")->capture_default_str()->check(CLI::Range(0, 1 << 30));
  app.add_option("--batch-tokens", a.batch_tokens, "(longest side) x (sentences) of an update")
      ->capture_default_str()
      ->check(bench::positive);
  app.add_option("--micro-tokens", a.micro_tokens, "tokens on the longer side of a piece that is computed at once")
      ->capture_default_str()
      ->check(bench::positive);
  app.add_option("--init", a.init, "start from these parameters (safetensors)");
  app.add_option("--save", a.save, "keep the trained parameters");
  app.add_flag("--profile", a.profile, "what an update's time is spent on, and what more threads would bring");
  app.add_option("--json", a.json, "keep a record");
  return bench::run(app, argc, argv, [&] { measure(a); });
}
