// translate: trains a Differential Transformer to translate, and translates with it.
//
//   translate train --run runs/numbers                      the built-in task: number words, English to German
//   translate train --train pairs.tsv --run runs/mine       any parallel text
//   echo "seven hundred" | translate translate --run runs/numbers
//   translate test --run runs/numbers                       BLEU and exact matches on held-out text
#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>

#include "examples/fast_blas.h"
#include "examples/translate/bleu.h"
#include "examples/translate/data.h"
#include "examples/translate/run.h"
#include "examples/translate/train.h"

namespace {

using namespace translate;

struct Arguments {
  Settings settings;
  std::string run, source, target;
  int beam = 1;
  int threads = 0;
  bool tokenized = false, lowercase = false;
};

void add_training_options(CLI::App& app, Arguments& a) {
  Settings& s = a.settings;
  app.add_option("--run", a.run, "the run folder to make")->required();
  app.add_option("--task", s.task, "a built-in task: numbers or reverse")->group("Data")->capture_default_str();
  app.add_option("--pairs", s.pairs, "pairs to draw for a task")->group("Data")->capture_default_str();
  app.add_option("--train", s.train, "pairs to train on: a TSV of source and target")->group("Data");
  app.add_option("--valid", s.valid, "pairs to validate on: a TSV")->group("Data");
  app.add_option("--train-src", s.train_src, "or two files, one sentence a line: source")->group("Data");
  app.add_option("--train-tgt", s.train_tgt, "and target")->group("Data");
  app.add_option("--valid-src", s.valid_src, "the same to validate on")->group("Data");
  app.add_option("--valid-tgt", s.valid_tgt, "")->group("Data");
  app.add_option("--vocab-size", s.vocab_size, "subwords at most [160 for a task, 8000 for files]")->group("Data");
  app.add_option("--max-length", s.max_length, "tokens a sentence may have")->group("Data")->capture_default_str();
  app.add_option("--preset", s.preset, "sizes: toy, tiny, small, base [toy for a task, tiny for files]")
      ->group("Model");
  app.add_option("--attention", s.attention, "softmax, diff or diff-v2")->group("Model")->capture_default_str();
  app.add_option("--style", s.style, "llama or vaswani")->group("Model")->capture_default_str();
  app.add_option("--d-model", s.d_model, "width, instead of the preset's")->group("Model");
  app.add_option("--heads", s.heads, "output heads, instead of the preset's")->group("Model");
  app.add_option("--ff", s.ff, "feed-forward width, instead of the preset's")->group("Model");
  app.add_option("--layers", s.layers, "layers of each stack, instead of the preset's")->group("Model");
  app.add_option("--dropout", s.dropout, "[0 for a task, 0.1 for files]")->group("Model");
  app.add_option("--batch-tokens", s.batch_tokens,
                 "(longest side) x (sentences) of an update [1024 for a task, 2048 for files]")
      ->group("Training");
  app.add_option("--lr", s.lr, "peak learning rate")->group("Training")->capture_default_str();
  app.add_option("--schedule", s.schedule, "then: cosine or inverse-sqrt")->group("Training")->capture_default_str();
  app.add_option("--warmup", s.warmup, "updates to reach it")->group("Training")->capture_default_str();
  app.add_option("--label-smoothing", s.label_smoothing, "[0 for a task, 0.1 for files]")->group("Training");
  app.add_option("--weight-decay", s.weight_decay, "")->group("Training")->capture_default_str();
  app.add_option("--clip-norm", s.clip_norm, "longest gradient")->group("Training")->capture_default_str();
  app.add_option("--max-epochs", s.max_epochs, "[2 for a task, 10 for files]")->group("Training");
  app.add_option("--max-updates", s.max_updates, "stop there")->group("Training");
  app.add_option("--seed", s.seed, "fixes everything that is random")->group("Training")->capture_default_str();
  app.add_option("--log-every", s.log_every, "updates between reports")->group("Training")->capture_default_str();
}

// Reads stdin whole, so that sentences of like length are translated together.
void translate_stdin(const Arguments& a) {
  const Translator translator = Translator::load(a.run);
  for (const std::string& line : translator.translate(read_lines(std::cin, "stdin"), a.beam, "stdin"))
    std::printf("%s\n", line.c_str());
}

void test(const Arguments& a) {
  const Translator translator = Translator::load(a.run);
  if (a.source.empty() != a.target.empty()) throw InputError("--src and --tgt go together");
  if (a.source.empty() && translator.settings.task.empty())
    throw InputError(a.run + ": was trained on files, which have no test set: name one with --src and --tgt");
  Settings drawn = translator.settings;
  drawn.pairs = 1;  // the held-out pairs are the same however many are drawn for training
  const std::vector<Pair> pairs = a.source.empty() ? load_pairs(drawn).test : read_parallel(a.source, a.target);
  std::vector<std::string> sources, references;
  for (const Pair& pair : pairs) {
    sources.push_back(pair.source);
    references.push_back(pair.target);
  }
  const std::vector<std::string> found = translator.translate(sources, a.beam, a.source.empty() ? "test" : a.source);
  size_t exact = 0;
  for (size_t i = 0; i < pairs.size(); ++i) exact += found[i] == references[i];
  for (size_t i = 0; i < std::min<size_t>(10, pairs.size()); ++i) print_translation(pairs[i], found[i]);
  const Bleu bleu = corpus_bleu(found, references, {a.lowercase, !a.tokenized});
  std::printf("%s\n", bleu.format().c_str());
  if (bleu.sys_len == static_cast<int64_t>(pairs.size()))
    std::printf("(BLEU compares runs of up to four words; these translations are of one word each)\n");
  std::printf("exact match: %zu of %zu (%.1f%%)\n", exact, pairs.size(),
              100.0 * static_cast<double>(exact) / static_cast<double>(pairs.size()));
}

}  // namespace

int main(int argc, char** argv) {
  ensure_fast_blas(argv);
  Arguments a;
  CLI::App app("Trains a Differential Transformer to translate, and translates with it.", "translate");
  app.require_subcommand(1);
  CLI::App* train_command = app.add_subcommand("train", "train a model");
  add_training_options(*train_command, a);
  CLI::App* translate_command = app.add_subcommand("translate", "translate stdin, a line for each line");
  CLI::App* test_command = app.add_subcommand("test", "translate held-out sentences and score the translations");
  for (CLI::App* command : {translate_command, test_command}) {
    command->add_option("--run", a.run, "the run folder")->required();
    command->add_option("--beam", a.beam, "hypotheses kept; 1: greedy")
        ->capture_default_str()
        ->check(CLI::Range(1, 100));
  }
  test_command->add_option("--src", a.source, "source sentences [a task has its own]");
  test_command->add_option("--tgt", a.target, "their references");
  test_command->add_flag("--tokenized", a.tokenized, "the text is tokenised already: tok:none");
  test_command->add_flag("--lowercase", a.lowercase, "case:lc");
  for (CLI::App* command : {train_command, translate_command, test_command})
    command->add_option("--threads", a.threads, "[all cores]; the results have the same bits with any number");

  try {
    app.parse(argc, argv);
    if (a.threads > 0) omp_set_num_threads(a.threads);
    if (*train_command) train(a.settings, a.run);
    if (*translate_command) translate_stdin(a);
    if (*test_command) test(a);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help
    std::fprintf(stderr, "translate: %s (translate --help lists the options)\n", e.what());
    return 2;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "translate: %s\n", e.what());
    return 2;
  }
  return 0;
}
