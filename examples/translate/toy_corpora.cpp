#include "examples/translate/toy_corpora.h"

#include <unordered_set>

#include "core/random.h"

namespace translate {
namespace {

using difftensor::Random;

// Makes a pair of some length, in digits or letters.
using Draw = Pair (*)(Random& random, int length);

// Draws the held-out pairs, then training pairs that are none of them. Lengths take turns: all are equally frequent.
Splits make_splits(int64_t train_pairs, uint64_t seed, Draw draw, int shortest, int shortest_held_out, int longest) {
  constexpr size_t valid_pairs = 500, test_pairs = 1000;
  const auto length = [=](size_t i, int least) { return least + static_cast<int>(i % (longest - least + 1)); };
  Splits splits;
  std::unordered_set<std::string> held_out;
  for (Random random(0, /*stream=*/1); held_out.size() < valid_pairs + test_pairs;) {
    Pair pair = draw(random, length(held_out.size(), shortest_held_out));
    if (!held_out.insert(pair.source).second) continue;
    (splits.valid.size() < valid_pairs ? splits.valid : splits.test).add(pair);
  }
  for (Random random(seed); static_cast<int64_t>(splits.train.size()) < train_pairs;) {
    Pair pair = draw(random, length(splits.train.size(), shortest));
    if (!held_out.contains(pair.source)) splits.train.add(pair);
  }
  return splits;
}

Pair draw_number(Random& random, int digits) {
  static constexpr int powers[] = {0, 10, 100, 1'000, 10'000, 100'000, 1'000'000};
  const int number = powers[digits - 1] + static_cast<int>(random.below(powers[digits] - powers[digits - 1]));
  return {english(number), german(number)};
}

Pair draw_letters(Random& random, int letters) {
  std::string text;
  for (; letters > 0; --letters) {
    if (!text.empty()) text += ' ';
    text += static_cast<char>('a' + random.below(26));
  }
  return {text, {text.rbegin(), text.rend()}};
}

}  // namespace

std::string english(int number) {
  static const char* const small[] = {"zero",     "one",     "two",     "three",     "four",     "five",    "six",
                                      "seven",    "eight",   "nine",    "ten",       "eleven",   "twelve",  "thirteen",
                                      "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"};
  static const char* const tens[] = {"",      "",      "twenty",  "thirty", "forty",
                                     "fifty", "sixty", "seventy", "eighty", "ninety"};
  const auto then = [](const char* link, int rest) { return rest ? link + english(rest) : ""; };
  if (number >= 1000) return english(number / 1000) + " thousand" + then(" ", number % 1000);
  if (number >= 100) return english(number / 100) + " hundred" + then(" ", number % 100);
  if (number >= 20) return tens[number / 10] + then("-", number % 10);
  return small[number];
}

std::string german(int number) {
  static const char* const small[] = {"null",     "eins",     "zwei",     "drei",     "vier",     "fünf",    "sechs",
                                      "sieben",   "acht",     "neun",     "zehn",     "elf",      "zwölf",   "dreizehn",
                                      "vierzehn", "fünfzehn", "sechzehn", "siebzehn", "achtzehn", "neunzehn"};
  static const char* const tens[] = {"",        "",        "zwanzig", "dreißig", "vierzig",
                                     "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig"};
  // Before "und", "hundert" and "tausend", eins is ein, also as the end of a longer number: einhunderteintausend.
  const auto before = [](int count) {
    std::string word = german(count);
    if (count % 100 == 1) word.pop_back();
    return word;
  };
  const auto then = [](int rest) { return rest ? german(rest) : ""; };
  if (number >= 1000) return before(number / 1000) + "tausend" + then(number % 1000);
  if (number >= 100) return before(number / 100) + "hundert" + then(number % 100);
  if (number >= 20) return (number % 10 ? before(number % 10) + "und" : "") + tens[number / 10];
  return small[number];
}

Splits make_numbers(int64_t train_pairs, uint64_t seed) { return make_splits(train_pairs, seed, draw_number, 1, 3, 6); }

Splits make_reverse(int64_t train_pairs, uint64_t seed) {
  return make_splits(train_pairs, seed, draw_letters, 3, 3, 12);
}

}  // namespace translate
