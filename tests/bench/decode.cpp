// decode: greedy or beam search over many sentences with a key/value cache.
//
//   decode --run DIR --src TEXT                                                  a model trained by build/translate
//   decode --model FILE --preset P --attention A --ids-src F                     one kept by train_throughput --save
//
// Prints sentences/s, reading and encoding not counted. --out keeps what was decoded, from what and by which model, for
// tests/bench/pytorch_peer.py and ctranslate2_peer.py to do the same.
#include "models/decode.h"

#include <omp.h>

#include <cstdio>
#include <memory>

#include "core/safetensors.h"
#include "core/fast_blas.h"
#include "examples/text/files.h"
#include "examples/translate/translator.h"
#include "tests/bench/bench.h"
#include "tests/bench/model.h"

namespace {

using namespace difftensor;
using text::InputError;

struct Arguments {
  std::string run, src, model, preset = "tiny", attention = "diff", ids_src, out, json;
  size_t sentences = 1000;
  int threads = omp_get_num_procs(), beam = 1;
  int64_t batch_size = models::DecodeOptions().batch_size, length = 0;
};

struct Task {
  std::unique_ptr<models::Transformer> model;
  std::string parameters;  // the file that they come from
  std::vector<std::vector<int32_t>> sources;
};

Task prepare(const Arguments& a) {
  if (a.run.empty() == a.model.empty()) throw InputError("name a model: --run or --model");
  if (!a.run.empty() && a.src.empty()) throw InputError("--run goes with --src");
  if (!a.model.empty() && a.ids_src.empty()) throw InputError("--model goes with --ids-src");
  Task task;
  if (!a.run.empty()) {
    translate::Translator translator = translate::Translator::load(a.run);
    for (const std::string& line : text::read_lines(a.src)) task.sources.push_back(translator.vocabulary.encode(line));
    task.model = std::move(translator.model);
    task.parameters = a.run + "/model.safetensors";
  } else {
    task.sources = bench::read_ids(a.ids_src);
    const SafeTensors file = load_safetensors(a.model);
    const auto embedding = file.tensors.find("embedding.weight");
    if (embedding == file.tensors.end()) throw InputError(a.model + ": has no embedding.weight");
    Random random;
    task.model =
        std::make_unique<models::Transformer>(bench::preset(a.preset, a.attention, embedding->second.dim(0)), random);
    task.model->load_state_dict(file.tensors);
    task.model->eval();
    task.parameters = a.model;
  }
  if (task.sources.size() > a.sentences) task.sources.resize(a.sentences);
  for (auto& ids : task.sources) ids.push_back(bench::eos);
  return task;
}

void measure(const Arguments& a) {
  omp_set_num_threads(a.threads);
  const Task task = prepare(a);
  models::DecodeOptions options;
  options.beam = a.beam;
  options.batch_size = a.batch_size;
  if (a.length > 0) {  // no word ends a translation, so all searches have the same to do
    options.eos = -1;
    options.max_length_factor = 0;
    options.max_length_extra = a.length;
  }
  std::vector<std::vector<models::Hypothesis>> found;
  std::vector<double> times;
  for (int run = 0; run < 4; ++run) {
    const double start = bench::seconds();
    found = models::decode(*task.model, task.sources, options);
    if (run > 0) times.push_back(bench::seconds() - start);  // the first run warms up
  }
  std::vector<std::vector<int32_t>> outputs;
  size_t tokens = 0;
  for (const auto& hypotheses : found) {
    outputs.push_back(hypotheses.at(0).tokens);
    tokens += outputs.back().size() + 1;
  }
  const double time = bench::median(times), rate = static_cast<double>(task.sources.size()) / time;
  const double token_rate = static_cast<double>(tokens) / time, rss = bench::status_mib("VmHWM");
  const models::TransformerConfig& c = task.model->config;
  std::printf(
      "difftensor attention=%s threads=%d beam=%d batch_size=%ld sentences=%zu tokens=%zu sentences/s=%.1f "
      "tokens/s=%.0f peak_rss_mib=%.0f\n",
      to_string(c.attention).c_str(), a.threads, a.beam, a.batch_size, task.sources.size(), tokens, rate, token_rate,
      rss);
  bench::keep(a.json, {{"program", "decode"},
                       {"threads", a.threads},
                       {"beam", a.beam},
                       {"batch_size", a.batch_size},
                       {"sentences", task.sources.size()},
                       {"tokens", tokens},
                       {"seconds", time},
                       {"sentences_per_second", rate},
                       {"tokens_per_second", token_rate},
                       {"peak_rss_mib", rss}});
  if (a.out.empty()) return;
  const nlohmann::json decoded = {{"model",
                                   {{"vocab", c.vocab},
                                    {"d_model", c.d_model},
                                    {"heads", c.heads},
                                    {"ff", c.ff},
                                    {"encoder_layers", c.encoder_layers},
                                    {"decoder_layers", c.decoder_layers},
                                    {"attention", to_string(c.attention)},
                                    {"style", to_string(c.style)}}},
                                  {"parameters", task.parameters},
                                  {"sources", task.sources},
                                  {"outputs", outputs}};
  text::write_file(a.out, decoded.dump() + "\n");
}

}  // namespace

int main(int argc, char** argv) {
  difftensor::ensure_fast_blas(argv);
  Arguments a;
  CLI::App app("Measures decoding with a key/value cache.", "decode");
  app.add_option("--run", a.run, "a run folder of build/translate");
  app.add_option("--src", a.src, "with it: sentences, one a line");
  app.add_option("--model", a.model, "or parameters kept by train_throughput --save");
  app.add_option("--preset", a.preset, "with them: tiny or small")->capture_default_str();
  app.add_option("--attention", a.attention, "softmax, diff or diff-v2")->capture_default_str();
  app.add_option("--ids-src", a.ids_src, "and token ids, a sentence a line, plain or .gz");
  app.add_option("--sentences", a.sentences, "the first so many")->capture_default_str()->check(bench::positive);
  app.add_option("--beam", a.beam, "hypotheses kept; 1: greedy")->capture_default_str()->check(bench::positive);
  app.add_option("--length", a.length, "translations of so many tokens, wherever the model would end them")
      ->check(bench::positive);
  app.add_option("--batch-size", a.batch_size, "sentences at a time")->capture_default_str()->check(bench::positive);
  app.add_option("--threads", a.threads, "")->capture_default_str()->check(bench::positive);
  app.add_option("--out", a.out, "keep the model's sizes, the sources and what was decoded (JSON)");
  app.add_option("--json", a.json, "keep a record");
  return bench::run(app, argc, argv, [&] { measure(a); });
}
