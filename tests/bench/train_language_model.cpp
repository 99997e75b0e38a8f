// train_language_model: how many tokens a second the training of a decoder-only model takes.
//
//   train_language_model --text FILE [--attention softmax|diff|diff-v2] [--layers N] [--d-model D] [--threads N]
//
// tests/bench/language_peer.py trains the same model, and that of nanoGPT, in PyTorch: on the same bytes of the same
// text, with the same clipping and optimizer.
#include <omp.h>

#include <cstdio>
#include <numeric>

#include "core/fast_blas.h"
#include "core/parallel_backward.h"
#include "core/safetensors.h"
#include "examples/text/files.h"
#include "examples/training/task.h"
#include "models/language_model.h"
#include "optim/clip.h"
#include "optim/optimizer.h"
#include "tests/bench/bench.h"

namespace {

using namespace difftensor;

struct Arguments {
  std::string text, attention = "softmax", init, json;
  int threads = omp_get_num_procs(), steps = 30, warmup = 5, layers = 4, heads = 4;
  int64_t d_model = 128, ff = 344, context = 256, batch = 16;
};

models::LanguageModelConfig config(const Arguments& a) {
  models::LanguageModelConfig c;
  c.attention = models::attention_from_string(a.attention);
  c.layers = a.layers, c.d_model = a.d_model, c.ff = a.ff, c.vocab = 256;
  c.heads = c.attention == models::AttentionKind::diff ? a.heads / 2 : a.heads;
  return c;
}

// One update on `batch` contexts, each a piece. Number `step` has bytes from all over the text, the same in PyTorch.
double update(const models::LanguageModel& model, optim::Optimizer& optimizer, const std::string& text, int step,
              const Arguments& a) {
  const auto byte = [&](int64_t at) { return static_cast<int32_t>(static_cast<unsigned char>(text[at])); };
  CrossEntropyOptions options;
  options.normalizer = a.batch * a.context;
  std::vector<double> losses(a.batch);
  optimizer.zero_grad();
  bench::backward_by_parts(a.batch, [&](int64_t i) {
    const int64_t begin = (step * a.batch + i) * 7919 % (static_cast<int64_t>(text.size()) - a.context);
    std::vector<int32_t> ids, targets;
    for (int64_t at = begin; at < begin + a.context; ++at) ids.push_back(byte(at)), targets.push_back(byte(at + 1));
    const Tensor loss = model.loss(ids, {a.context}, targets, options);
    loss.backward();
    losses[i] = loss.item();
  });
  optim::clip_grad_norm(model.parameters(), 1);
  optimizer.step();
  return std::accumulate(losses.begin(), losses.end(), 0.0);
}

void measure(const Arguments& a) {
  omp_set_num_threads(a.threads);
  const std::string text = text::read_file(a.text);
  if (static_cast<int64_t>(text.size()) <= a.context)
    throw text::InputError(a.text + ": shorter than a context of " + std::to_string(a.context) + " bytes");
  Random random(1);
  models::LanguageModel model(config(a), random);
  if (!a.init.empty()) model.load_state_dict(load_safetensors(a.init).tensors);
  optim::AdamW optimizer({{model.parameters(), 0.01}}, 1e-3, {0.9, 0.98, 1e-8});

  bench::reset_peak_memory();
  double loss = 0, start = 0;
  for (int step = 0; step < a.warmup + a.steps; ++step) {
    if (step == a.warmup) start = bench::seconds();
    loss = update(model, optimizer, text, step, a);
  }
  const double elapsed = bench::seconds() - start, rss = bench::status_mib("VmHWM");
  const double rate = static_cast<double>(a.steps * a.batch * a.context) / elapsed;
  std::printf(
      "difftensor attention=%s layers=%d d_model=%ld context=%ld threads=%d params=%ld loss=%.4f tokens/s=%.0f "
      "peak_rss_mib=%.0f\n",
      a.attention.c_str(), a.layers, a.d_model, a.context, a.threads, model.parameter_count(), loss, rate, rss);
  bench::keep(a.json, {{"program", "train_language_model"},
                       {"attention", a.attention},
                       {"threads", a.threads},
                       {"params", model.parameter_count()},
                       {"loss", loss},
                       {"tokens_per_second", rate},
                       {"peak_rss_mib", rss}});
}

}  // namespace

int main(int argc, char** argv) {
  difftensor::ensure_fast_blas(argv);
  Arguments a;
  CLI::App app("Measures the training of a language model on the bytes of a text: tokens a second, memory.",
               "train_language_model");
  app.add_option("--text", a.text, "a file to learn from")->required();
  app.add_option("--attention", a.attention, "softmax, diff or diff-v2")->capture_default_str();
  app.add_option("--threads", a.threads, "")->capture_default_str()->check(bench::positive);
  app.add_option("--layers", a.layers, "")->capture_default_str()->check(bench::positive);
  app.add_option("--d-model", a.d_model, "width")->capture_default_str()->check(bench::positive);
  app.add_option("--heads", a.heads, "maps; diff has half as many heads, of two maps each")
      ->capture_default_str()
      ->check(bench::positive);
  app.add_option("--ff", a.ff, "feed-forward width")->capture_default_str()->check(bench::positive);
  app.add_option("--context", a.context, "tokens of a context")->capture_default_str()->check(bench::positive);
  app.add_option("--batch", a.batch, "contexts of an update")->capture_default_str()->check(bench::positive);
  app.add_option("--steps", a.steps, "updates to measure")->capture_default_str()->check(bench::positive);
  app.add_option("--warmup", a.warmup, "updates before them")->capture_default_str()->check(CLI::Range(0, 1 << 30));
  app.add_option("--init", a.init, "start from these parameters (safetensors)");
  app.add_option("--json", a.json, "keep a record");
  return bench::run(app, argc, argv, [&] { measure(a); });
}
