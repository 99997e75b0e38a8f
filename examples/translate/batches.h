#pragma once
// Sentences put into batches, and packed end to end: no padding.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/random.h"

namespace translate {

/// A sentence pair as token ids: the source ends with EOS, the target begins with BOS and ends with EOS.
struct Example {
  std::vector<int32_t> source, target;
};

/// Sentences laid end to end.
struct Batch {
  std::vector<int32_t> source;                 ///< ... EOS
  std::vector<int32_t> target_in, target_out;  ///< BOS ..., and what is to be predicted from it: ... EOS
  std::vector<int64_t> source_lengths, target_lengths;
  int64_t tokens = 0;            ///< of both sides, with their EOS, BOS not
  std::vector<size_t> examples;  ///< which ones these are
};

/// Every example once, sorted by length, in batches of which (longest side of any sentence) x (sentences) is at most
/// `budget`, unless a sentence alone is longer.
std::vector<Batch> sorted_batches(const std::vector<Example>& examples, int64_t budget);

/// Every example once, in `count` batches to train on (there are no fewer examples), all with about the same number of
/// tokens, in random order. Only roughly sorted: a sentence goes among those of up to twice its length. Without
/// padding, mixing costs nothing, and a gradient from sentences of many lengths is a better guess of the whole
/// corpus's.
std::vector<Batch> shuffled_batches(const std::vector<Example>& examples, int64_t count, difftensor::Random& random);

}  // namespace translate
