#pragma once
// A corpus in memory. Few words make most of a text: each distinct one is kept once, and a sentence is the numbers of
// its words. Frequent words come early and get small numbers, which are written in one or two bytes.
#include <algorithm>
#include <string>
#include <string_view>

#include "examples/text/hash_index.h"
#include "examples/text/packed.h"

namespace text {

/// The numbers of a sentence's words, to go through.
class WordNumbers {
 public:
  /// Seven bits a byte, the lowest first; all bytes of a number but the last have the eighth bit.
  class Iterator {
   public:
    explicit Iterator(const uint8_t* at) : at_(at) {}
    uint32_t operator*() const {
      uint32_t number = *at_ & 0x7F;
      for (int i = 0; at_[i] & 0x80; ++i) number |= uint32_t{at_[i + 1] & 0x7Fu} << 7 * (i + 1);
      return number;
    }
    Iterator& operator++() {
      while (*at_++ & 0x80) continue;
      return *this;
    }
    bool operator==(const Iterator&) const = default;

   private:
    const uint8_t* at_;
  };

  explicit WordNumbers(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  Iterator begin() const { return Iterator(bytes_.data()); }
  Iterator end() const { return Iterator(bytes_.data() + bytes_.size()); }

 private:
  std::span<const uint8_t> bytes_;
};

/// Sentences that come back as they went in. Words are what is between spaces (U+0020, no other): where two spaces
/// meet, or one stands at an end, a word is empty. Takes 8 bytes a sentence, and about 2 a word.
class Sentences {
 public:
  size_t size() const { return sentences_.size(); }
  /// An empty sentence has no words.
  WordNumbers operator[](size_t i) const { return WordNumbers(sentences_[i]); }
  bool are_same(size_t a, size_t b) const { return std::ranges::equal(sentences_[a], sentences_[b]); }
  uint64_t hash(size_t i) const { return hash_bytes(sentences_[i].data(), sentences_[i].size()); }
  std::string text(size_t i) const;

  /// Throws std::length_error at the 2^32nd distinct word.
  void add(std::string_view text);
  /// Room for text of so many bytes.
  void reserve(size_t bytes) { sentences_.reserve(bytes / 3); }  // of a word of six letters, with its space
  /// Takes out the sentences of which removed(i) is true.
  template <class Removed>
  void remove_if(Removed removed) {
    for (size_t i = 0; i < size(); ++i)
      if (removed(i))
        for (const uint32_t word : (*this)[i]) --counts_[word];
    sentences_.remove_if(removed);
  }

  /// How many distinct words there are; one that was taken out again is still among them.
  size_t words() const { return counts_.size(); }
  std::string_view word(uint32_t number) const { return {words_[number].data(), words_[number].size()}; }
  /// How often the word occurs.
  int64_t count(uint32_t number) const { return counts_[number]; }

 private:
  Packed<uint8_t> sentences_;  // of WordNumbers
  Packed<char> words_;
  std::vector<int64_t> counts_;
  HashIndex index_;  // of words_
};

}  // namespace text
