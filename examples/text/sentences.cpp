#include "examples/text/sentences.h"

#include <stdexcept>

namespace text {

void Sentences::add(std::string_view text) {
  for (size_t begin = 0; !text.empty() && begin <= text.size();) {
    const std::string_view rest = text.substr(begin), word = rest.substr(0, rest.find(' '));
    const auto next = static_cast<uint32_t>(words());
    if (next == HashIndex::none) throw std::length_error("a corpus of 2^32 different words");
    const uint32_t number = index_.find_or_add(hash_bytes(word.data(), word.size()), next,
                                               [&](uint32_t known) { return this->word(known) == word; });
    if (number == next) {
      words_.add(word);
      counts_.push_back(0);
    }
    ++counts_[number];
    uint32_t high = number;
    for (; high >= 0x80; high >>= 7) sentences_.push(static_cast<uint8_t>(high | 0x80));
    sentences_.push(static_cast<uint8_t>(high));
    begin += word.size() + 1;
  }
  sentences_.close();
}

std::string Sentences::text(size_t i) const {
  std::string text;
  bool first = true;
  for (const uint32_t number : (*this)[i]) {
    if (!first) text += ' ';
    text += word(number);
    first = false;
  }
  return text;
}

}  // namespace text
