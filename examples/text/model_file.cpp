#include "examples/text/model_file.h"

#include <cstdint>
#include <string_view>
#include <vector>

namespace text {
namespace {

struct Field {
  uint64_t number = 0, value = 0;  // an integer's value
  std::string_view bytes;          // a string's or a message's content
  std::string_view whole;          // with its tag and length
};

uint64_t take_integer(std::string_view& rest) {  // 7 bits a byte, the lowest first
  uint64_t value = 0;
  for (int shift = 0; shift < 64 && !rest.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(rest[0]);
    rest.remove_prefix(1);
    value |= uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) break;
  }
  return value;
}

std::string integer(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}

// A message's fields, up to the first that is none: SentencePiece has read the file before, and refused a broken one.
std::vector<Field> fields(std::string_view message) {
  std::vector<Field> found;
  for (std::string_view rest = message; !rest.empty();) {
    Field field;
    const char* begin = rest.data();
    const uint64_t tag = take_integer(rest);
    field.number = tag >> 3;
    uint64_t size = 0;
    switch (tag & 7) {
      case 0: field.value = take_integer(rest); break;
      case 1: size = 8; break;
      case 2: size = take_integer(rest); break;
      case 5: size = 4; break;
      default: return found;
    }
    if (size > rest.size()) return found;
    field.bytes = rest.substr(0, size);
    rest.remove_prefix(size);
    field.whole = {begin, static_cast<size_t>(rest.data() - begin)};
    found.push_back(field);
  }
  return found;
}

enum ModelProto { trainer_spec = 2, normalizer_spec = 3, denormalizer_spec = 5 };
enum TrainerSpec { model_type = 3, input_format = 7, whitespace_as_suffix = 24, byte_fallback = 35 };
enum NormalizerSpec { charsmap = 2, add_dummy_prefix = 3, remove_extra_whitespaces = 4, escape_whitespaces = 5 };
constexpr uint64_t bpe = 2;

}  // namespace

std::string without_input_format(const std::string& model) {
  std::string written;
  for (const Field& part : fields(model)) {
    if (part.number != trainer_spec) {
      written += part.whole;
      continue;
    }
    std::string kept;
    for (const Field& field : fields(part.bytes))
      if (field.number != input_format) kept += field.whole;
    written += integer(trainer_spec << 3 | 2) + integer(kept.size()) + kept;
  }
  return written;
}

bool merges_words_as_they_are(const std::string& model) {
  // As they are where the file says nothing.
  uint64_t type = 1, suffix = 0, bytes = 0, prefix = 1, trimmed = 1, escaped = 1;
  bool mapped = false;
  for (const Field& part : fields(model))
    for (const Field& field : part.number == trainer_spec || part.number == normalizer_spec ||
                                      part.number == denormalizer_spec
                                  ? fields(part.bytes)
                                  : std::vector<Field>{}) {
      if (part.number == trainer_spec) {
        if (field.number == model_type) type = field.value;
        if (field.number == whitespace_as_suffix) suffix = field.value;
        if (field.number == byte_fallback) bytes = field.value;
        continue;
      }
      if (field.number == charsmap) mapped |= !field.bytes.empty();
      if (part.number == denormalizer_spec) continue;
      if (field.number == add_dummy_prefix) prefix = field.value;
      if (field.number == remove_extra_whitespaces) trimmed = field.value;
      if (field.number == escape_whitespaces) escaped = field.value;
    }
  return type == bpe && !suffix && !bytes && !mapped && prefix && !trimmed && escaped;
}

}  // namespace text
