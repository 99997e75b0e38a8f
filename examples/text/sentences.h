#pragma once
// A corpus in memory. Few words make most of a text: each distinct one is kept once, and a sentence is the numbers of
// its words.
#include <string>
#include <string_view>

#include "examples/text/hash_index.h"
#include "examples/text/packed.h"

namespace text {

/// Sentences that come back as they went in. Words are what is between spaces (U+0020, no other): where two spaces
/// meet, or one stands at an end, a word is empty. Takes 4 bytes a word and 8 a sentence.
class Sentences {
 public:
  size_t size() const { return sentences_.size(); }
  /// The numbers of a sentence's words; an empty sentence has none.
  std::span<const uint32_t> operator[](size_t i) const { return sentences_[i]; }
  std::string text(size_t i) const;

  /// Throws std::length_error at the 2^32nd distinct word.
  void add(std::string_view text);
  /// Room for text of so many bytes.
  void reserve(size_t bytes) { sentences_.reserve(bytes / 5); }  // an average word has more, with its space
  /// Takes out the sentences of which removed(i) is true.
  template <class Removed>
  void remove_if(Removed removed) {
    for (size_t i = 0; i < size(); ++i)
      if (removed(i))
        for (const uint32_t word : sentences_[i]) --counts_[word];
    sentences_.remove_if(removed);
  }

  /// How many distinct words there are; one that was taken out again is still among them.
  size_t words() const { return counts_.size(); }
  std::string_view word(uint32_t number) const { return {words_[number].data(), words_[number].size()}; }
  /// How often the word occurs.
  int64_t count(uint32_t number) const { return counts_[number]; }

 private:
  Packed<uint32_t> sentences_;
  Packed<char> words_;
  std::vector<int64_t> counts_;
  HashIndex index_;  // of words_
};

}  // namespace text
