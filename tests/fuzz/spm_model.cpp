// A vocabulary file from a stranger, and a text for it, after the last byte 0xFF.
#include <algorithm>

#include "examples/text/encoder.h"
#include "examples/text/files.h"
#include "examples/text/unicode.h"
#include "examples/text/vocabulary.h"
#include "tests/fuzz/fuzz.h"

namespace fuzz {

// Protobuf may reserve 50,000,000 bytes for a string (its kSafeStringSize) before it sees that there are fewer.
const Memory memory{51 << 20, 500};

void fuzz(std::string_view input) {
  const size_t end = std::min(input.rfind('\xFF'), input.size());
  const std::string text(input.substr(std::min(end + 1, input.size())));
  if (text::find_invalid_utf8(text) != std::string::npos) return;
  std::string path = file("spm.model", input.substr(0, end));
  reads<text::InputError>(path, [&] {
    const text::Vocabulary vocabulary = text::Vocabulary::load(path);
    const std::vector<int32_t> ids = vocabulary.encode(text);
    for (const int32_t id : ids) check(id >= 0 && id < vocabulary.size(), "ids are of the vocabulary");
    vocabulary.decode(ids);
    text::Sentences sentences;
    sentences.add(text);
    check(text::Encoder(vocabulary, sentences).ids(0) == ids, "word by word, the ids are the same");
  });
}

}  // namespace fuzz
