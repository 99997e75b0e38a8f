// translate data: looks a corpus over before a training is started.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>

#include "examples/training/options.h"
#include "examples/translate/commands.h"
#include "examples/translate/corpus_progress.h"
#include "examples/translate/survey.h"
#include "examples/translate/translator.h"

namespace translate {
namespace {

struct Arguments {
  std::string train, source, target, vocabulary;
  int vocab_size = 0;
  int64_t max_length = 256;
};

using Lengths = std::array<int32_t, 2> SurveyedPair::*;

void print_row(const char* name, const std::string& source, const std::string& target) {
  std::printf("%-14s  %-36s  %s\n", name, source.c_str(), target.c_str());
}

// The sum, the mean and the maximum of a length.
std::string totals(const Survey& survey, Lengths lengths, int side) {
  int64_t sum = 0, most = 0;
  for (const SurveyedPair& pair : survey.pairs) {
    sum += (pair.*lengths)[side];
    most = std::max<int64_t>(most, (pair.*lengths)[side]);
  }
  char text[80];
  std::snprintf(text, sizeof text, "%ld (%.1f a line, at most %ld)", sum,
                static_cast<double>(sum) / static_cast<double>(std::max<size_t>(1, survey.pairs.size())), most);
  return text;
}

void print_totals(const Survey& survey, const std::optional<Vocabulary>& vocabulary) {
  print_row("", "source", "target");
  print_row("file", survey.files[0], survey.files[1]);
  print_row("lines", std::to_string(survey.lines[0]), std::to_string(survey.lines[1]));
  print_row("words", totals(survey, &SurveyedPair::words, 0), totals(survey, &SurveyedPair::words, 1));
  print_row("distinct words", std::to_string(count_distinct_words(survey, 0)),
            std::to_string(count_distinct_words(survey, 1)));
  if (!vocabulary) return;
  print_row("subwords", totals(survey, &SurveyedPair::subwords, 0), totals(survey, &SurveyedPair::subwords, 1));
  std::printf("of %d in the vocabulary\n", vocabulary->size());
}

int64_t longer_side(const SurveyedPair& pair, Lengths lengths) {
  return std::max((pair.*lengths)[0], (pair.*lengths)[1]);
}

// Ten bars up to where 99% of the pairs end, and one for the rest; then the longest pairs.
void print_histogram(const Survey& survey, const char* unit, Lengths lengths) {
  if (survey.pairs.empty()) return;
  std::vector<const SurveyedPair*> sorted;
  for (const SurveyedPair& pair : survey.pairs) sorted.push_back(&pair);
  std::stable_sort(sorted.begin(), sorted.end(), [&](const SurveyedPair* a, const SurveyedPair* b) {
    return longer_side(*a, lengths) > longer_side(*b, lengths);
  });
  const int64_t width = longer_side(*sorted[sorted.size() / 100], lengths) / 10 + 1;
  std::array<int64_t, 11> counts{};
  for (const SurveyedPair& pair : survey.pairs)
    ++counts[std::clamp<int64_t>((longer_side(pair, lengths) - 1) / width, 0, 10)];
  const int64_t most = *std::max_element(counts.begin(), counts.end());
  std::printf("\n%s of the longer side\n", unit);
  for (int64_t i = 0; i < 11; ++i) {
    std::string range = i < 10 ? std::to_string(i * width + 1) + "-" + std::to_string((i + 1) * width)
                               : "over " + std::to_string(10 * width);
    std::string bar;
    for (int64_t k = 0; k < (counts[i] * 48 + most - 1) / most; ++k) bar += "█";
    std::printf("%12s  %s%s%ld\n", range.c_str(), bar.c_str(), bar.empty() ? "" : " ", counts[i]);
  }
  std::printf("longest pairs\n");
  for (size_t i = 0; i < std::min<size_t>(3, sorted.size()); ++i)
    std::printf("  %s  %d and %d %s\n", survey.place(*sorted[i]).c_str(), (sorted[i]->*lengths)[0],
                (sorted[i]->*lengths)[1], unit);
}

void print_findings(const Survey& survey) {
  for (const bool fatal : {true, false}) {
    std::printf(fatal ? "\nfaults, which training refuses\n" : "\nworth a look, but no fault\n");
    for (const Finding& f : survey.findings) {
      if (f.fatal != fatal) continue;
      std::printf("%8ld  %s\n", f.count, describe(f).c_str());
    }
  }
}

std::optional<Vocabulary> vocabulary_for(const Arguments& a, const Survey& survey) {
  if (std::filesystem::is_directory(a.vocabulary)) return Translator::load(a.vocabulary, "last").vocabulary;
  if (!a.vocabulary.empty()) return Vocabulary::load(a.vocabulary);
  if (a.vocab_size == 0 || survey.pairs.empty()) return {};
  return learn_vocabulary(survey.sentences[0], survey.sentences[1], a.vocab_size);
}

void report(const Arguments& a) {
  if (a.train.empty() == (a.source.empty() && a.target.empty()))
    throw InputError("give --train, or --train-src and --train-tgt");
  if (a.source.empty() != a.target.empty()) throw InputError("--train-src and --train-tgt go together");
  Survey survey = read_corpus(a.train.empty() ? a.source : a.train, a.target, show_reading());
  const std::optional<Vocabulary> vocabulary = vocabulary_for(a, survey);
  if (vocabulary) count_subwords(survey, *vocabulary);
  check_lengths(survey, a.max_length, vocabulary.has_value());

  print_totals(survey, vocabulary);
  if (vocabulary)
    print_histogram(survey, "subwords", &SurveyedPair::subwords);
  else
    print_histogram(survey, "words", &SurveyedPair::words);
  print_findings(survey);
  if (survey.trainable()) {
    std::printf("\n%zu pairs can be trained on%s\n", survey.pairs.size(),
                vocabulary ? "" : "; to be sure of --max-length, give --vocab-size or --vocab");
    return;
  }
  std::string why;
  for (const Finding& f : survey.findings)
    if (f.fatal && f.count > 0) why += (why.empty() ? "" : "; ") + f.what + ": " + std::to_string(f.count);
  throw InputError(survey.files[0] + ": cannot be trained on: " + why);
}

}  // namespace

void add_data_command(CLI::App& app) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("data", "look a corpus over before training on it");
  command->add_option("--train", a->train, "pairs: a TSV of source and target");
  command->add_option("--train-src", a->source, "or two files, one sentence a line: source");
  command->add_option("--train-tgt", a->target, "and target");
  command->add_option("--vocab", a->vocabulary, "count subwords, too: a run folder or a SentencePiece model");
  command
      ->add_option("--vocab-size", a->vocab_size,
                   "or learn so many from this corpus, as training does (but from all of it)")
      ->excludes("--vocab")
      ->check(whole_number(1, 1000000));
  command->add_option("--max-length", a->max_length, "tokens a sentence may have, EOS counted")
      ->capture_default_str()
      ->check(whole_number(1, 1000000));
  command->callback([a] { report(*a); });
  command->footer(
      "Exit code 0 if training would take the corpus without files for validation, 2 if it would not. Examples:\n"
      "  translate data --train pairs.tsv\n"
      "  translate data --train-src train.en --train-tgt train.de --vocab-size 8000");
}

}  // namespace translate
