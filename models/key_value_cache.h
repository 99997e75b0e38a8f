#pragma once
// What lets decoding write one token at a time without computing the earlier ones again.
#include "nn/attention.h"

namespace difftensor::inline DT_PRECISION::models {

/// One layer's self-attention keys and values of the tokens written so far, for several sentences that grow together, a
/// token at a time. In beam search each hypothesis, a translation as far as it is written, counts as one.
///
/// Each has a block of `capacity` rows of one tensor and fills them from the top, so that nothing is moved when a token
/// is added: attention reads the filled rows of each block through their Spans.
class KeyValueCache {
 public:
  /// Empty, for keys and values of `width` features.
  KeyValueCache(int64_t hypotheses, int64_t capacity, int64_t width);
  // Moved but not copied: two handles to the same tensors would write into each other.
  KeyValueCache(KeyValueCache&&) = default;

  /// Adds one token's key and value to each hypothesis: row b of `next`, whose k and v are (hypotheses, width), to
  /// hypothesis b. Returns all that each has, as attention wants it. Throws outside a NoGrad scope, because it
  /// overwrites what earlier results were computed from; if a block is full; and if the shapes are others.
  nn::KeyValues append(const nn::KeyValues& next);
  /// Goes on with copies of the hypotheses `parents`, numbers from 0: beam search drops some and doubles others.
  void select(const std::vector<int32_t>& parents);

 private:
  Tensor k_, v_;                 // (blocks, capacity, width)
  std::vector<int64_t> blocks_;  // the block of each hypothesis; those of hypotheses that were dropped lie idle
  int64_t capacity_, width_;
  int64_t length_ = 0;  // rows filled in each block
};

}  // namespace difftensor::inline DT_PRECISION::models
