// Bytes as text: UTF-8 or not, words, lower case.
#include "examples/text/unicode.h"

#include <stdexcept>

#include "examples/text/corpus.h"
#include "tests/fuzz/fuzz.h"

namespace fuzz {

const Memory memory{64 << 10, 64};

namespace {

// The length of the character that begins here, 0 if there is none: by decoding it, and encoding it again.
size_t character(std::string_view s) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(s[i])); };
  const size_t n = byte(0) < 0x80 ? 1 : byte(0) < 0xE0 ? 2 : byte(0) < 0xF0 ? 3 : 4;
  if (n > s.size()) return 0;
  uint32_t c = n == 1 ? byte(0) : byte(0) & (0xFF >> (n + 1));
  for (size_t i = 1; i < n; ++i) c = c << 6 | (byte(i) & 0x3F);
  if (c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) return 0;
  std::string again;
  if (c < 0x80)
    again = {static_cast<char>(c)};
  else if (c < 0x800)
    again = {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
  else if (c < 0x10000)
    again = {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 0x3F)),
             static_cast<char>(0x80 | (c & 0x3F))};
  else
    again = {static_cast<char>(0xF0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 0x3F)),
             static_cast<char>(0x80 | (c >> 6 & 0x3F)), static_cast<char>(0x80 | (c & 0x3F))};
  return s.starts_with(again) ? n : 0;
}

}  // namespace

void fuzz(std::string_view input) {
  size_t valid = 0;
  for (size_t n; valid < input.size() && (n = character(input.substr(valid)));) valid += n;
  const size_t bad = text::find_invalid_utf8(input);
  check(bad == (valid < input.size() ? valid : std::string_view::npos), "UTF-8 is what encodes to itself");

  const std::string all(input);
  size_t at = 0, kept = 0;
  for (const std::string_view word : text::split(input)) {
    const auto begin = static_cast<size_t>(word.data() - input.data());
    check(!word.empty() && begin >= at && begin + word.size() <= input.size(), "words are parts of the text, in order");
    check(text::is_blank(all.substr(at, begin - at)), "between words is whitespace");
    check(text::split(word).size() == 1, "there is none in a word");
    at = begin + word.size(), kept += word.size();
  }
  check(text::is_blank(all.substr(at)) && text::is_blank(all) == (kept == 0), "blank is what has no words");

  try {
    const std::string lower = text::to_lower(all);
    check(bad == std::string_view::npos, "what is not UTF-8 has no lower case");
    check(text::find_invalid_utf8(lower) == std::string_view::npos, "lower case is UTF-8");
    check(text::to_lower(lower) == lower, "lower case has none itself");
  } catch (const std::invalid_argument&) {
    check(bad != std::string_view::npos, "all UTF-8 has a lower case");
  }
}

}  // namespace fuzz
