// language_model evaluate: how well models predict a text.
#include <cmath>
#include <cstdio>
#include <memory>

#include "core/safetensors.h"
#include "examples/language_model/commands.h"
#include "examples/language_model/language_task.h"
#include "examples/training/options.h"

namespace language_model {
namespace {

struct Arguments {
  std::vector<std::string> runs, text, suffixes;
  std::string model = "best", svg;
  int context = 0;
};

// The text to predict: the named one, or what the run held out, if that can still be told from what it learned.
Corpus corpus_for(const TrainedModel& trained, const Arguments& a, const std::string& run) {
  if (!a.text.empty()) {
    const auto& suffixes = a.suffixes.empty() ? trained.settings.suffixes.value : a.suffixes;
    return whole_files(read_texts(a.text, suffixes), trained.tokenizer);
  }
  Settings settings = trained.settings;
  if (a.context) settings.context = a.context;
  Data data = load_data(settings, run);
  const std::string last = run + "/last.safetensors";
  if (load_run_file(last, trained.tokenizer.companion()).metadata["data"] != fingerprint_of(data.train, data.valid))
    throw InputError(run +
                     ": the files that it was trained on have changed, so that it may have learned what they hold "
                     "out now; name another text with --text");
  return std::move(data.valid);
}

void evaluate(const Arguments& a) {
  const std::string svg = a.svg.empty() ? a.runs[0] + "/loss_by_position.svg" : a.svg;
  std::vector<Series> curves;
  for (const std::string& run : a.runs) {
    const TrainedModel trained = TrainedModel::load(run, a.model);
    require_writable(svg);  // rather than find out after all the work
    const Corpus corpus = corpus_for(trained, a, run);
    const int64_t context = a.context ? a.context : trained.settings.context;
    const LossByPosition loss = loss_by_position(*trained.model, corpus, context);
    std::printf("%s: %s\n", run.c_str(), trained.title().c_str());
    std::printf("  %ld tokens, %ld bytes, in contexts of %ld tokens\n", loss.targets(), corpus.bytes, context);
    if (corpus.unknown)
      std::printf("  %ld tokens stand for characters that the vocabulary lacks; bits per byte are too low by these\n",
                  corpus.unknown);
    std::printf("  loss %.4f  perplexity %.3f  bits per byte %.4f  accuracy %.1f%%\n", loss.loss(),
                std::exp(loss.loss()), loss.bits_per_byte(corpus.bytes), loss.percent_right());
    std::printf("  position        loss\n");
    for (const LossByPosition::Part& part : loss.parts(1)) {
      const std::string places =
          part.first == part.last ? format("%ld", part.first) : format("%ld-%ld", part.first, part.last);
      std::printf("  %-12s  %.4f\n", places.c_str(), part.loss);
    }
    curves.push_back({run, loss.curve()});
  }
  write_file(svg, position_chart(curves));
  std::printf("loss by position drawn in %s\n", svg.c_str());
}

}  // namespace

void add_evaluate_command(CLI::App& app) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("evaluate", "how well models predict a text, and how far they look back");
  command->add_option("runs", a->runs, "run folders")->required();
  training::add_model_option(*command, a->model);
  command->add_option("--text", a->text, "files and folders to predict [what each run held out]");
  command->add_option("--suffixes", a->suffixes, "of folders, only files whose names end so [as in training]");
  command->add_option("--context", a->context, "tokens of a context [as many as in training]")
      ->check(training::whole_number(2, 1000000));
  command->add_option("--svg", a->svg, "the picture to write [loss_by_position.svg in the first run folder]");
  training::add_threads_option(*command);
  command->callback([a] { evaluate(*a); });
  command->footer(
      "Bits per byte compare models of different vocabularies. Examples:\n"
      "  language_model evaluate runs/self\n"
      "  language_model evaluate runs/softmax runs/diff --text book.txt --context 1024 --svg compared.svg");
}

}  // namespace language_model
