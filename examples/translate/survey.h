#pragma once
// What is in a parallel corpus, and what is wrong with it: every fault is counted, none ends the reading.
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "examples/text/corpus.h"
#include "examples/text/vocabulary.h"

namespace translate {

using namespace text;

/// A kind of thing that is found in a corpus.
struct Finding {
  std::string what;
  bool fatal;  ///< training refuses such a corpus
  int64_t count = 0;
  std::vector<std::string> places{};  ///< the first three: "train.en:17"

  void add(const std::string& place) {
    if (++count <= 3) places.push_back(place);
  }
};

/// One line of source and one of target that have text on both sides: its number, from 1, and its lengths.
struct SurveyedPair {
  uint32_t line;
  std::array<int32_t, 2> words{}, subwords{};
};

struct Survey {
  std::array<std::string, 2> files;  ///< source and target; the same twice for a TSV
  std::array<int64_t, 2> lines{};
  std::vector<SurveyedPair> pairs;     ///< those that can be read at all
  std::array<Sentences, 2> sentences;  ///< the sources and the targets of these
  std::vector<Finding> findings;       ///< every kind that was looked for

  bool trainable() const;
  /// "train.en:17"
  std::string place(const SurveyedPair& pair) const { return files[0] + ":" + std::to_string(pair.line); }
};

/// Reads two files, a sentence a line, or one file with a tab between the sides (`target_file` empty). Throws
/// InputError only if a file cannot be read. Finds unreadable lines; repetitions; sides left untranslated.
Survey read_corpus(const std::string& source_file, const std::string& target_file,
                   const ReadingProgress& progress = {});

/// How many different words (as split() has them) there are on a side, 0 the source.
size_t count_distinct_words(const Survey& survey, int side);

/// The texts that a vocabulary does not return as they were: a pair is counted once, for the worse of its sides.
struct LostText {
  Finding unknown{"pairs with characters that the vocabulary lacks", false};
  Finding changed{"pairs that the vocabulary changes: encoded and decoded, they are not what they were", false};

  /// Counts a pair; place() is where it is.
  template <class Place>
  void check(Vocabulary::Loss source, Vocabulary::Loss target, Place place) {
    using enum Vocabulary::Loss;
    if (source == unknown_characters || target == unknown_characters)
      unknown.add(place());
    else if (source == other_text || target == other_text)
      changed.add(place());
  }
};
/// "pairs with ...: train.en:17, train.en:40, ...", with no line break.
std::string describe(const Finding& finding);

/// Fills in the lengths in subwords, and finds what text is lost.
void count_subwords(Survey& survey, const Vocabulary& vocabulary);

/// Finds pairs with a side of more than `max_length` tokens, EOS counted; pairs whose lengths do not fit together; and
/// targets longer than any translation (DecodeOptions::max_length). Lengths are in subwords if `subwords`, else in
/// words: then there may be more that are too long.
void check_lengths(Survey& survey, int64_t max_length, bool subwords);

}  // namespace translate
