#pragma once
// Sentences put into batches, and packed end to end: no padding.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/random.h"
#include "examples/text/packed.h"

namespace translate {

/// A sentence pair as token ids: the source ends with EOS, the target begins with BOS and ends with EOS.
struct Example {
  std::span<const int32_t> source, target;
};

/// Examples, all of them in one array.
class Examples {
 public:
  Examples() = default;
  /// Of sides that take turns: source, target, source, ...
  explicit Examples(text::Packed<int32_t> sides) : sides_(std::move(sides)) {}

  size_t size() const { return sides_.size() / 2; }
  Example operator[](size_t i) const { return {sides_[2 * i], sides_[2 * i + 1]}; }
  void add(std::span<const int32_t> source, std::span<const int32_t> target) { sides_.add(source), sides_.add(target); }
  /// The ids of all, end to end.
  std::span<const int32_t> ids() const { return sides_.items(); }

 private:
  text::Packed<int32_t> sides_;
};

/// Which examples are put into one batch.
using Selection = std::vector<uint32_t>;

/// Sentences laid end to end.
struct Batch {
  std::vector<int32_t> source;                 ///< ... EOS
  std::vector<int32_t> target_in, target_out;  ///< BOS ..., and what is to be predicted from it: ... EOS
  std::vector<int64_t> source_lengths, target_lengths;
  int64_t tokens = 0;  ///< of both sides, with their EOS, BOS not
  Selection examples;  ///< which ones these are
};

/// These examples, laid end to end.
Batch make_batch(const Examples& examples, const Selection& selection);

/// Every example once, sorted by length, in batches of which (longest side of any sentence) x (sentences) is at most
/// `budget`, unless a sentence alone is longer.
std::vector<Selection> sorted_batches(const Examples& examples, int64_t budget);

/// Every example once, in `count` batches to train on (there are no fewer examples), all with about the same number of
/// tokens, in random order. Only roughly sorted: a sentence goes among those of up to twice its length. Without
/// padding, mixing costs nothing, and a gradient from sentences of many lengths is a better guess of the whole
/// corpus's.
std::vector<Selection> shuffled_batches(const Examples& examples, int64_t count, difftensor::Random& random);

}  // namespace translate
