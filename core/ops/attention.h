#pragma once
// The part of core/ops.h that knows sentences: places in them, and attention among their tokens. Letters as there.
#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace difftensor::inline DT_PRECISION {

// --- core/ops/rope.cpp -----------------------------------------------------------------------------------------------

/// Rotary position embedding (Su et al. 2021, arXiv 2104.09864): in each head of x (N, heads d), features 2i and 2i + 1
/// of the token at position p are rotated by the angle p base^(-2i / d). `positions` has a token's place in its
/// sentence. Throws unless base is positive and finite, and d is even.
Tensor rope(const Tensor& x, int heads, const std::vector<int32_t>& positions, double base = 10000);
/// The sinusoids of Vaswani et al. 2017: (N, D) with sin(p 10000^(-2i / D)) at feature 2i and the cosine at 2i + 1.
Tensor sinusoids(const std::vector<int32_t>& positions, int64_t width);

// --- core/ops/attention.cpp ------------------------------------------------------------------------------------------
// Sentences are packed: laid end to end in the rows of one matrix, with a Span each.

/// Where a sentence lies: rows begin ... begin + length - 1.
struct Span {
  int64_t begin, length;
  bool operator==(const Span&) const = default;
};
using Spans = std::vector<Span>;

/// Which rows attend to which.
struct AttentionLayout {
  int heads;      ///< output heads h
  Spans queries;  ///< one per sentence, in the rows of q; they must not overlap
  Spans keys;     ///< one per sentence, in the rows of k and v; they may overlap if neither needs a gradient
  bool causal;    ///< query i of T sees keys j <= i + S - T; otherwise all S
  /// If not empty, a list of rows of k and v, and `keys` are spans of the list: the keys of a sentence may then lie
  /// anywhere, and sentences may share some of them. For sentences of one query each, in a NoGrad scope.
  std::vector<int32_t> key_rows = {};
};

/// Attention of each sentence to its keys, each head by itself (Vaswani et al. 2017):
///   A = softmax(Q K^T / sqrt(d)),  out = A V.
/// q (N, h d), k (M, h d), v (M, h e) -> (N, h e). Rows of q outside every span give zeros.
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionLayout& layout);

/// Differential attention (Ye et al. 2024, arXiv 2410.05258): of head i's two maps,
///   A1 = softmax(Q1 K1^T / sqrt(d)),  A2 = softmax(Q2 K2^T / sqrt(d)),  out = (A1 - lambda A2) V.
/// q (N, 2h d): heads 2i and 2i + 1 are the pair of output head i. k (M, 2h d) in the same pairs, or (M, h d): one key
/// head for both queries of a pair, as in version 2. v (M, h e). lambda: a scalar, or (N, h), one for each token and
/// head.
Tensor diff_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& lambda,
                      const AttentionLayout& layout);

// --- core/ops/plain_attention.cpp ------------------------------------------------------------------------------------

/// Sentences of these lengths, end to end.
Spans packed_spans(const std::vector<int64_t>& lengths);
/// A sentence's rows of x (N, heads w) as (heads, T, w).
Tensor split_heads(const Tensor& x, const Span& span, int64_t heads);
/// (heads, T, w) back to (T, heads w).
Tensor merge_heads(const Tensor& x);
/// The map itself: softmax(Q K^T / sqrt(d)) over the keys that each query may see. (heads, T, d), (heads, S, d) ->
/// (heads, T, S).
Tensor attention_map(const Tensor& q, const Tensor& k, bool causal);

/// The same two functions made of nothing but matmul, softmax and friends: the definition to read first, and the oracle
/// that the fused ones are tested against. The spans of queries must fill q's rows, one after the other.
Tensor plain_attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionLayout& layout);
Tensor plain_diff_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& lambda,
                            const AttentionLayout& layout);

}  // namespace difftensor::inline DT_PRECISION
