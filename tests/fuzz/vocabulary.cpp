// Text to ids and back, and any ids to text, by one small vocabulary.
#include "examples/text/vocabulary.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "examples/text/encoder.h"
#include "examples/text/unicode.h"
#include "tests/fuzz/fuzz.h"

namespace fuzz {

// A character that is escaped becomes two, of which SentencePiece keeps nodes and pairs.
const Memory memory{64 << 10, 600};

void fuzz(std::string_view input) {
  using text::Vocabulary;
  static const Vocabulary vocabulary =
      Vocabulary::train({"the quick brown fox jumps over the lazy dog", "Straße, 12.5 \"naïve\" \U0001F642", "a\tb  c"}, 80);
  const std::string text(input);
  if (text::find_invalid_utf8(text) == std::string::npos && text.find('\n') == std::string::npos) {
    const std::vector<int32_t> ids = vocabulary.encode(text);
    for (const int32_t id : ids) check(id >= 0 && id < vocabulary.size(), "ids are of the vocabulary");
    const bool known = std::find(ids.begin(), ids.end(), Vocabulary::unknown) == ids.end();
    check(!known || vocabulary.decode(ids) == text, "known text comes back");
    text::Sentences sentences;
    sentences.add(text);
    check(sentences.text(0) == text, "sentences come back");
    check(text::Encoder(vocabulary, sentences).ids(0) == ids, "word by word, the ids are the same");
  }

  std::vector<int32_t> ids(input.size() / sizeof(int32_t));
  if (!ids.empty()) std::memcpy(ids.data(), input.data(), ids.size() * sizeof(int32_t));
  const auto outside = [&](int32_t id) { return id < 0 || id >= vocabulary.size(); };
  const bool good = std::none_of(ids.begin(), ids.end(), outside);
  try {
    check(text::find_invalid_utf8(vocabulary.decode(ids)) == std::string::npos, "decoded text is UTF-8");
    check(good, "no other ids are decoded");
  } catch (const std::invalid_argument&) {
    check(!good, "all ids of the vocabulary are decoded");
  }
  for (const int32_t id : ids) try {
      check(!vocabulary.piece(id).empty() && !outside(id), "an id has a piece");
    } catch (const std::invalid_argument&) {
      check(outside(id), "every id has one");
    }
}

}  // namespace fuzz
