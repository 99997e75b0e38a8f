#include "examples/text/encoder.h"

#include <algorithm>

#include "core/kernels/parallel.h"

namespace text {

using Loss = Vocabulary::Loss;

Encoder::Encoder(const Vocabulary& vocabulary, const Sentences& sentences)
    : vocabulary_(vocabulary), sentences_(sentences) {
  if (!vocabulary.encodes_words_apart()) return;
  const auto words = static_cast<int64_t>(sentences.words());
  blocks_.resize((words + block - 1) / block);
  losses_.resize(words);
  difftensor::parallel_for(static_cast<int64_t>(blocks_.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin * block; n < std::min(words, end * block); ++n) {
      const std::string word(sentences.word(static_cast<uint32_t>(n)));
      const std::vector<int32_t> ids = word.empty() ? std::vector{vocabulary.space()} : vocabulary.encode(word);
      losses_[n] = word.empty() ? Loss::none : vocabulary.loss(word, ids);
      blocks_[n / block].add(ids);
    }
  });
}

std::vector<int32_t> Encoder::ids(size_t i) const {
  if (!vocabulary_.encodes_words_apart()) return vocabulary_.encode(sentences_.text(i));
  std::vector<int32_t> all;
  for (const uint32_t word : sentences_[i]) {
    const auto ids = word_ids(word);
    all.insert(all.end(), ids.begin(), ids.end());
  }
  return all;
}

Encoder::Outcome Encoder::outcome(size_t i) const {
  Outcome outcome{0, Loss::none};
  if (vocabulary_.encodes_words_apart())
    for (const uint32_t word : sentences_[i]) {
      outcome.length += static_cast<int32_t>(word_ids(word).size());
      if (losses_[word] != Loss::none && outcome.loss != Loss::unknown_characters) outcome.loss = losses_[word];
    }
  // What the words say of other text is but a hint: only the whole tells what comes back.
  if (vocabulary_.encodes_words_apart() && outcome.loss != Loss::other_text) return outcome;
  const std::vector<int32_t> all = ids(i);
  return {static_cast<int32_t>(all.size()), vocabulary_.loss(sentences_.text(i), all)};
}

}  // namespace text
