#pragma once
// Translation tasks made up on the spot: nothing to download, and the right answer to every question is known.
#include <cstdint>

#include "examples/text/corpus.h"

namespace translate {

using text::Pair, text::Pairs;

struct Splits {
  Pairs train, valid, test;
};

/// Number words, English to German: "seven hundred forty-one" -> "siebenhunderteinundvierzig", for 0 to 999,999. All
/// counts of digits are equally frequent. The German turns tens and ones around, and fuses words: it takes attention.
///
/// The 500 validation and 1,000 test numbers are distinct, never occur in training, are the same whatever the seed
/// (so that runs compare), and have 3 to 6 digits: training needs all numbers below 100, of which larger ones are made.
Splits make_numbers(int64_t train_pairs, uint64_t seed);

/// 3 to 12 random letters, reversed: "a b c" -> "c b a". All lengths are equally frequent; held-out pairs as above.
Splits make_reverse(int64_t train_pairs, uint64_t seed);

/// A number from 0 to 999,999 in words.
std::string english(int number);
std::string german(int number);

}  // namespace translate
