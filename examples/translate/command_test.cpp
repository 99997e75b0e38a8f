// translate test: translates held-out sentences and scores the translations.
#include <cstdio>
#include <memory>

#include "examples/training/options.h"
#include "examples/translate/bleu.h"
#include "examples/translate/chrf.h"
#include "examples/translate/commands.h"
#include "examples/translate/data.h"
#include "examples/translate/translator.h"

namespace translate {
namespace {

struct Arguments {
  DecodingArguments decoding;
  TestArguments set;
  std::string out;
};

void test(const Arguments& a) {
  const Translator translator = Translator::load(a.decoding.run, a.decoding.model);
  if (translator.settings.distractors > 0)
    throw InputError(a.decoding.run + ": was trained with --distractors; it is tested by `translate distract`");
  if (!a.out.empty()) require_writable(a.out);  // now, rather than after all the work
  const Pairs pairs = test_pairs(translator, a.decoding.run, a.set);
  std::vector<std::string> sources, references;
  for (size_t i = 0; i < pairs.size(); ++i) {
    sources.push_back(pairs.sources().text(i));
    references.push_back(pairs.targets().text(i));
  }
  translator.warn_of_unknown(sources, a.set.name());
  const std::vector<std::string> found =
      translator.translate(sources, a.decoding.options, a.set.name(), long_lines_names.at(a.decoding.long_lines));
  size_t exact = 0;
  for (size_t i = 0; i < pairs.size(); ++i) exact += found[i] == references[i];
  if (!a.out.empty()) {
    std::string lines;
    for (const std::string& translation : found) lines += translation + '\n';
    write_file(a.out, lines);
  }
  for (size_t i = 0; i < std::min<size_t>(10, pairs.size()); ++i) print(translation_lines(pairs[i], found[i]));
  const BleuOptions bleu_options{a.set.lowercase, !a.set.tokenized, /*confidence=*/true};
  if (std::any_of(references.begin(), references.end(), [&](const auto& r) { return has_4gram(r, bleu_options); }))
    std::printf("%s\n", corpus_bleu(found, references, bleu_options).format().c_str());
  else
    std::printf("no BLEU: it compares runs of four words, and no reference has so many\n");
  const Chrf chrf = corpus_chrf(found, references, {a.set.lowercase, /*confidence=*/true});
  std::printf("%s\n", chrf.format().c_str());
  std::printf("exact match: %zu of %zu (%.1f%%)\n", exact, pairs.size(),
              100.0 * static_cast<double>(exact) / static_cast<double>(pairs.size()));
}

}  // namespace

void add_test_options(CLI::App& command, TestArguments& a) {
  command.add_option("--src", a.source, "sentences to translate, one a line [a task has its own]");
  command.add_option("--tgt", a.target, "their references, line for line");
  command.add_flag("--tokenized", a.tokenized, "the text has spaces between its tokens already: tok:none");
  command.add_flag("--lowercase", a.lowercase, "compare without case: case:lc");
}

Pairs test_pairs(const Translator& translator, const std::string& run, const TestArguments& a) {
  if (a.source.empty() != a.target.empty()) throw InputError("--src and --tgt go together");
  if (!a.source.empty()) return read_parallel(a.source, a.target);
  if (translator.settings.task.is_default())
    throw InputError(run + ": was trained on files, which have no test set: name one with --src and --tgt");
  Settings drawn = translator.settings;
  drawn.pairs = 1;        // the held-out pairs are the same however many are drawn for training,
  drawn.distractors = 0;  // and come without marks
  return load_pairs(drawn).test;
}

void add_test_command(CLI::App& app) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("test", "translate held-out sentences and score the translations");
  add_run_options(*command, a->decoding.run, a->decoding.model);
  add_decoding_options(*command, a->decoding);
  add_test_options(*command, a->set);
  command->add_option("--out", a->out, "write the translations into this file");
  add_threads_option(*command);
  command->callback([a] { test(*a); });
  command->footer(
      "BLEU and chrF2 are sacreBLEU's, with 95% intervals from 1,000 resamples of the test set; BLEU, which compares "
      "runs of four words, is left out where no reference has so many. Examples:\n"
      "  translate test --run runs/numbers\n"
      "  translate test --run runs/mine --beam 5 --src test.en --tgt test.de --out test.translated");
}

}  // namespace translate
