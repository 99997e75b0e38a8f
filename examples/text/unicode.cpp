#include "examples/text/unicode.h"

#include <climits>
#include <clocale>
#include <cwchar>
#include <cwctype>
#include <stdexcept>

namespace text {
namespace {

// For as long as it lives, this thread's characters are Unicode's, whatever the user's locale.
class Utf8Locale {
 public:
  Utf8Locale() {
    static const locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
    if (!utf8) throw std::runtime_error("lowercase scores need the locale C.UTF-8");
    before_ = uselocale(utf8);
  }
  ~Utf8Locale() { uselocale(before_); }
  Utf8Locale(const Utf8Locale&) = delete;
  Utf8Locale& operator=(const Utf8Locale&) = delete;

 private:
  locale_t before_;
};

bool is_cased(wchar_t c) { return std::iswupper(c) || std::iswlower(c); }
// What may stand inside a word: apostrophes, full stops, and what takes no room, such as accents.
bool is_case_ignorable(wchar_t c) {
  return std::wstring_view(L"'.:^`\u00a8\u00ad\u00b7\u2019").find(c) != std::wstring_view::npos || wcwidth(c) == 0;
}

// Whether the sigma at `i` ends a word: then it is written ς.
bool is_final_sigma(const std::wstring& text, size_t i) {
  size_t before = i, after = i + 1;
  while (before > 0 && is_case_ignorable(text[before - 1])) --before;
  while (after < text.size() && is_case_ignorable(text[after])) ++after;
  return before > 0 && is_cased(text[before - 1]) && !(after < text.size() && is_cased(text[after]));
}

}  // namespace

size_t leading_space(std::string_view text) {
  const char c = text.front();
  if (c == ' ' || (c >= '\t' && c <= '\r') || (c >= '\x1c' && c <= '\x1f')) return 1;
  if (c >= 0) return 0;  // other ASCII, where char is signed
  for (std::string_view space :
       {"\u0085", "\u00a0", "\u1680", "\u2000", "\u2001", "\u2002", "\u2003", "\u2004", "\u2005", "\u2006", "\u2007",
        "\u2008", "\u2009", "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000"})
    if (text.starts_with(space)) return space.size();
  return 0;
}

size_t find_invalid_utf8(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0; };
  for (size_t i = 0; i < text.size();) {
    const int lead = byte(i);
    const size_t length = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
    if (length == 0) return i;
    // Only the second byte's range depends on the first.
    const int low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const int high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (length > 1 && (byte(i + 1) < low || byte(i + 1) > high)) return i;
    for (size_t k = 2; k < length; ++k)
      if ((byte(i + k) & 0xC0) != 0x80) return i;
    i += length;
  }
  return std::string_view::npos;
}

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> words;
  size_t begin = 0;
  for (size_t i = 0; i <= text.size();) {
    const size_t space = i < text.size() ? leading_space(text.substr(i)) : 1;
    if (space && i > begin) words.push_back(text.substr(begin, i - begin));
    i += space ? space : 1;
    if (space) begin = i;
  }
  return words;
}

std::string to_lower(const std::string& text) {
  if (find_invalid_utf8(text) != std::string::npos) throw std::invalid_argument("to_lower: not UTF-8");
  const Utf8Locale locale;
  std::wstring wide;
  std::mbstate_t state{};
  for (size_t i = 0; i < text.size();) {
    wchar_t c;
    const size_t length = std::mbrtowc(&c, &text[i], text.size() - i, &state);
    wide += length ? c : L'\0';
    i += length ? length : 1;
  }
  std::string lower;
  for (size_t i = 0; i < wide.size(); ++i) {
    char bytes[MB_LEN_MAX];
    const wchar_t c = wide[i] == L'Σ' && is_final_sigma(wide, i) ? L'ς' : static_cast<wchar_t>(std::towlower(wide[i]));
    lower.append(bytes, std::wcrtomb(bytes, c, &state));
    if (wide[i] == L'İ') lower += "\u0307";  // the only letter that becomes two: its dot stays
  }
  return lower;
}

}  // namespace text
