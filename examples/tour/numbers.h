#pragma once
// The text that programs 5, 9 and 10 learn from: numbers below a million in English, such as "two thousand forty-one".
// Why these: the text is endless, needs no download, and whether a model writes it well can be counted.
#include <cstdio>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/random.h"

namespace numbers {

/// The characters that names are made of. A token is the place of a character here; 0 ends a name.
inline constexpr std::string_view alphabet = "\n -adefghilnorstuvwxy";

/// 0 < n < 1000000, in words.
inline std::string name(int n) {
  static const char* const small[] = {"",         "one",     "two",     "three",     "four",     "five",    "six",
                                      "seven",    "eight",   "nine",    "ten",       "eleven",   "twelve",  "thirteen",
                                      "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"};
  static const char* const tens[] = {"twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"};
  const auto and_rest = [](int rest, const char* between) { return rest ? between + name(rest) : std::string(); };
  if (n < 20) return small[n];
  if (n < 100) return tens[n / 10 - 2] + and_rest(n % 10, "-");
  if (n < 1000) return name(n / 100) + " hundred" + and_rest(n % 100, " ");
  return name(n / 1000) + " thousand" + and_rest(n % 1000, " ");
}

/// One of them, all equally likely.
inline std::string draw_name(difftensor::Random& random) { return name(1 + static_cast<int>(random.below(999999))); }

/// Is this the name of a number, to the last letter?
inline bool is_name(const std::string& text) {
  static const std::set<std::string> below_1000 = [] {
    std::set<std::string> names;
    for (int n = 1; n < 1000; ++n) names.insert(name(n));
    return names;
  }();
  const std::string thousand = " thousand";
  const size_t at = text.find(thousand);
  if (at == std::string::npos) return below_1000.contains(text);
  const std::string rest = text.substr(at + thousand.size());
  return below_1000.contains(text.substr(0, at)) &&
         (rest.empty() || (rest[0] == ' ' && below_1000.contains(rest.substr(1))));
}

/// Its characters' tokens and the 0 that ends it.
inline std::vector<int32_t> tokens(const std::string& text) {
  std::vector<int32_t> ids;
  for (char c : text + '\n') ids.push_back(static_cast<int32_t>(alphabet.find(c)));
  return ids;
}

/// Some texts end to end. The model sees `ids`, 0 and a name in each, and is to say `next`: the same, moved on by one.
struct Texts {
  std::vector<int32_t> ids, next;
  std::vector<int64_t> lengths;
};
inline Texts draw_texts(int count, difftensor::Random& random) {
  Texts texts;
  for (int i = 0; i < count; ++i) {
    const std::vector<int32_t> name = tokens(draw_name(random));
    texts.ids.push_back(0);
    texts.ids.insert(texts.ids.end(), name.begin(), name.end() - 1);
    texts.next.insert(texts.next.end(), name.begin(), name.end());
    texts.lengths.push_back(static_cast<int64_t>(name.size()));
  }
  return texts;
}

/// Calls write() for 200 texts. Prints the first five, with "yes" before those that are a number's name, and how many
/// are.
template <class Write>
void print_texts(Write write, const char* indent) {
  int real = 0;
  for (int i = 0; i < 200; ++i) {
    const std::string text = write();
    real += is_name(text);
    if (i < 5) std::printf("%s%s %s\n", indent, is_name(text) ? "yes" : "no ", text.c_str());
  }
  std::printf("%s%d of 200 are numbers\n", indent, real);
}

}  // namespace numbers
