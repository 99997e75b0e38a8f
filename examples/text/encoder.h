#pragma once
// The token ids of a whole corpus, on all cores.
#include "examples/text/vocabulary.h"

namespace text {

/// Encodes sentences as Vocabulary::encode does, but each distinct word once, where words can be encoded apart
/// (Vocabulary::encodes_words_apart). Both the vocabulary and the sentences must live as long. The functions may be
/// called from many threads.
class Encoder {
 public:
  Encoder(const Vocabulary& vocabulary, const Sentences& sentences);

  /// The ids of a sentence.
  std::vector<int32_t> ids(size_t i) const;
  struct Outcome {
    int32_t length;  ///< how many ids there are
    Vocabulary::Loss loss;
  };
  Outcome outcome(size_t i) const;  ///< of a sentence

 private:
  static constexpr int64_t block = 4096;
  std::span<const int32_t> word_ids(uint32_t word) const { return blocks_[word / block][word % block]; }

  const Vocabulary& vocabulary_;
  const Sentences& sentences_;
  std::vector<Packed<int32_t>> blocks_;   // of so many words each, so that threads fill them at the same time
  std::vector<Vocabulary::Loss> losses_;  // of each word
};

}  // namespace text
