#include "examples/text/escapes.h"

#include <algorithm>
#include <array>

namespace text {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view mark = "\uEE00";

struct Escape {
  std::string_view written;
  char letter;
};
constexpr std::array escapes{Escape{"\u2581", 's'}, Escape{"\u2585", 'u'}, Escape{"\0"sv, '0'}, Escape{mark, 'm'}};
// Within a piece's name, after its "<": nothing.
constexpr Escape nothing{"", 'n'};
constexpr std::array names{"pad>"sv, "s>"sv, "/s>"sv, "unk>"sv};

}  // namespace

std::string escape(std::string_view text) {
  std::string escaped;
  for (size_t i = 0; i < text.size();) {
    const std::string_view rest = text.substr(i);
    const auto e =
        std::find_if(escapes.begin(), escapes.end(), [&](const Escape& e) { return rest.starts_with(e.written); });
    if (e != escapes.end()) {
      escaped.append(mark) += e->letter;
      i += e->written.size();
      continue;
    }
    escaped += rest[0];
    if (rest[0] == '<' && std::any_of(names.begin(), names.end(),
                                      [&](std::string_view name) { return rest.substr(1).starts_with(name); }))
      escaped.append(mark) += nothing.letter;
    ++i;
  }
  return escaped;
}

std::string unescape(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size();) {
    if (const std::string_view rest = text.substr(i); rest.starts_with(mark) && rest.size() > mark.size()) {
      const char letter = rest[mark.size()];
      const auto e = std::find_if(escapes.begin(), escapes.end(), [&](const Escape& e) { return e.letter == letter; });
      if (e != escapes.end() || letter == nothing.letter) {
        plain += e != escapes.end() ? e->written : nothing.written;
        i += mark.size() + 1;
        continue;
      }
    }
    plain += text[i++];
  }
  return plain;
}

}  // namespace text
