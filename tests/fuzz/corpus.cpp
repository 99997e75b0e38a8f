// Parallel text: a TSV, or source and target with a byte 0xFF between them.
#include "examples/text/corpus.h"

#include "examples/translate/survey.h"
#include "tests/fuzz/fuzz.h"

namespace fuzz {

const Memory memory{256 << 10, 500};

namespace {

void check_pairs(const text::Pairs& pairs) {
  std::string tsv;
  for (size_t i = 0; i < pairs.size(); ++i) {
    const text::Pair pair = pairs[i];
    check(!text::is_blank(pair.source) && !text::is_blank(pair.target), "both sides have words");
    check(pair.line == i + 1, "every line is there");
    // A carriage return before the end, or a byte order mark, would belong to the file.
    tsv += (i ? "" : "\uFEFF") + pair.source + "\t" + pair.target + "\r\n";
    if (pair.source.find('\t') != std::string::npos || pair.target.find('\t') != std::string::npos) return;
  }
  const text::Pairs again = text::read_tsv(file("again.tsv", tsv));
  check(again.size() == pairs.size(), "all pairs are read back");
  for (size_t i = 0; i < pairs.size(); ++i)
    check(again[i].source == pairs[i].source && again[i].target == pairs[i].target, "pairs are read back");
}

}  // namespace

void fuzz(std::string_view input) {
  using text::InputError;
  const std::vector<std::string> sides = parts(input, 2);
  const std::string tsv = file("pairs.tsv", input), source = file("a.src", sides[0]), target = file("a.tgt", sides[1]);
  text::Pairs pairs;
  const bool good_tsv = reads<InputError>(tsv, [&] { pairs = text::read_tsv(tsv); });
  if (good_tsv) check_pairs(pairs);
  const bool enough = pairs.size() >= 2;  // one to learn, one to validate
  const translate::Survey survey = translate::read_corpus(tsv, "");
  check(survey.trainable() == (good_tsv && enough), "what the survey calls sound is read, and no other");
  if (good_tsv) check(survey.pairs.size() == pairs.size(), "the survey sees all pairs");

  const bool good_files = reads<InputError>(folder() + "/a.", [&] { pairs = text::read_parallel(source, target); });
  if (good_files) check_pairs(pairs);
  const bool enough_files = good_files && pairs.size() >= 2;
  check(translate::read_corpus(source, target).trainable() == enough_files, "the same of two files");
}

}  // namespace fuzz
