#pragma once
// What lets decoding write one token at a time without computing the earlier ones again.
#include "nn/attention.h"

namespace difftensor::inline DT_PRECISION::models {

/// One layer's self-attention keys and values of the tokens written so far, for several sentences that grow together, a
/// token at a time. In beam search each hypothesis, a translation as far as it is written, counts as one.
///
/// A key or value, once written, is never overwritten. Each hypothesis has a list of the rows that are its tokens'. When
/// beam search doubles a hypothesis, only the list is copied: both go on from the same rows.
///
///      token 0   1   2   3
///   A:       a   b   c   d        A's list: a b c d
///                     \                                  `e`, of a copy of A after token 2, is in a row of its own
///                       e         B's list: a b c e
class KeyValueCache {
 public:
  /// Empty, for up to `capacity` keys and values in each hypothesis. The first ones say how wide they are. Memory grows
  /// with what is there, twofold.
  KeyValueCache(int64_t hypotheses, int64_t capacity) : hypotheses_(hypotheses), capacity_(capacity) {}
  // Moved but not copied: two handles to the same tensors would write into each other.
  KeyValueCache(KeyValueCache&&) = default;

  /// Adds one token's key and value to each hypothesis: row b of `next`, whose k and v have as many rows, to hypothesis
  /// b. Returns all that each has, as attention wants it. Throws outside a NoGrad scope, because it writes new rows
  /// into tensors that earlier results have read; if there is no room; and if the shapes are others.
  nn::KeyValues append(const nn::KeyValues& next);
  /// Goes on with the hypotheses `parents`, numbers from 0: beam search drops some and doubles others.
  void select(const std::vector<int32_t>& parents);

 private:
  Tensor k_, v_;               // (blocks x block, features): hypothesis b writes its token t to row b block + t
  std::vector<int32_t> rows_;  // (hypotheses, length): where the keys and values of each lie
  int64_t hypotheses_, capacity_;
  int64_t block_ = 0;   // tokens that there is room for in each hypothesis
  int64_t length_ = 0;  // tokens of each hypothesis
};

}  // namespace difftensor::inline DT_PRECISION::models
