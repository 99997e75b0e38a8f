#pragma once
// Every differentiable operation. Each is one function, in the file named above its group: shapes are checked, the
// result computed, the gradient's formula stated and its closure recorded, in that order. All throw
// std::invalid_argument naming the op, the shapes and the rule broken.
//
// Shape comments use fixed letters:
//   B  sentences in a batch               D  model width
//   T  length of one, on the query side   h  heads of the result
//   S  length of one, on the key side     d  width of a query or key head
//   N  tokens of all sentences together   e  width of a value head
//   M  the same, on the key side          V  vocabulary, or classes
// In matrix products alone, M, K and N are sizes as in BLAS: (M, K) (K, N) -> (M, N).
#include <concepts>
#include <cstdint>
#include <span>
#include <vector>

#include "core/autograd.h"
#include "core/tensor.h"

namespace difftensor::inline DT_PRECISION {

// --- core/ops/elementwise.cpp ----------------------------------------------------------------------------------------
// Two shapes broadcast as in NumPy: aligned at the last axis, and a size of 1 (or a missing axis) stretches.
// Results of +, -, *, / and sqrt are rounded once; exp, log, log1p and pow are right to about one unit in the last
// place. A gradient rounds once for each of its formula's operations. NaN and infinity arithmetic is IEEE's, in
// gradients too: zero times a NaN that comes in is NaN.

Tensor add(const Tensor& a, const Tensor& b);  ///< a + b
Tensor sub(const Tensor& a, const Tensor& b);  ///< a - b
Tensor mul(const Tensor& a, const Tensor& b);  ///< a b, elementwise
Tensor div(const Tensor& a, const Tensor& b);  ///< a / b
Tensor pow(const Tensor& a, const Tensor& b);  ///< a^b; the gradient of b needs a > 0 (it is 0 where a = 0)
Tensor maximum(const Tensor& a,
               const Tensor& b);  ///< max(a, b), NaN if one is; where equal, half the gradient goes to each
/// condition != 0 ? a : b. The condition gets no gradient.
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);
/// mask != 0 ? value : x, for a mask that broadcasts to x's shape.
Tensor masked_fill(const Tensor& x, const Tensor& mask, Scalar value);

Tensor add(const Tensor& a, Scalar b);
Tensor mul(const Tensor& a, Scalar b);
Tensor div(const Tensor& a, Scalar b);
Tensor div(Scalar a, const Tensor& b);
Tensor pow(const Tensor& a, Scalar exponent);
Tensor neg(const Tensor& x);
Tensor exp(const Tensor& x);
Tensor log(const Tensor& x);
Tensor log1p(const Tensor& x);  ///< log(1 + x), also where 1 + x would round to 1
Tensor sqrt(const Tensor& x);

inline Tensor operator+(const Tensor& a, const Tensor& b) { return add(a, b); }
inline Tensor operator-(const Tensor& a, const Tensor& b) { return sub(a, b); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return mul(a, b); }
inline Tensor operator/(const Tensor& a, const Tensor& b) { return div(a, b); }
inline Tensor operator-(const Tensor& x) { return neg(x); }
inline Tensor operator+(const Tensor& a, Scalar b) { return add(a, b); }
inline Tensor operator+(Scalar a, const Tensor& b) { return add(b, a); }
inline Tensor operator-(const Tensor& a, Scalar b) { return add(a, -b); }
inline Tensor operator-(Scalar a, const Tensor& b) { return add(neg(b), a); }
inline Tensor operator*(const Tensor& a, Scalar b) { return mul(a, b); }
inline Tensor operator*(Scalar a, const Tensor& b) { return mul(b, a); }
inline Tensor operator/(const Tensor& a, Scalar b) { return div(a, b); }
inline Tensor operator/(Scalar a, const Tensor& b) { return div(a, b); }

// --- core/ops/activation.cpp -----------------------------------------------------------------------------------------

// Errors are relative, in units in the last place of the result (ulp), for every x whose result is a normal number.
// Derivatives do not saturate: they are right to as many digits where the function itself has rounded to its limit.

Tensor tanh(const Tensor& x);     ///< to 2 ulp, its derivative to 2 + 2 |x|
Tensor sigmoid(const Tensor& x);  ///< 1 / (1 + exp(-x)), to 3 ulp, its derivative to 6
Tensor relu(const Tensor& x);     ///< max(x, 0), with derivative 0 at 0, NaN at NaN
/// x Phi(x), with the normal distribution function, not its tanh approximation. To 4 + x^2 ulp, which is what rounding
/// x / sqrt(2) costs.
Tensor gelu(const Tensor& x);
Tensor silu(const Tensor& x);  ///< x sigmoid(x), to 4 ulp; its derivative to (4 + |x|) 2^-24, absolute
/// silu(gate) * up, in one pass: the inside of a SwiGLU feed-forward (Shazeer 2020, arXiv 2002.05202).
/// To 5 ulp; gate's derivative to (4 + |gate|) 2^-24 |up|, absolute.
Tensor swiglu(const Tensor& gate, const Tensor& up);
/// Zeroes each element with probability p and multiplies the rest by 1 / (1 - p) (Srivastava et al. 2014). Draws from
/// default_random(), which has 2^24 numbers in float: p counts in steps of 2^-24. p = 0 returns x. Call it in
/// training only; nn::Dropout knows the mode.
Tensor dropout(const Tensor& x, Scalar p);

// --- core/ops/reduce.cpp ---------------------------------------------------------------------------------------------
// `axes` may be negative; none means all. Reduced axes vanish unless `keepdim`. Sums are in double and in a fixed
// order: in float, the result of n elements is right to half a unit in the last place, and n 2^-53 times the sum of
// their magnitudes. A mean is that sum divided by n, before it is rounded.

Tensor sum(const Tensor& x, std::vector<int> axes = {}, bool keepdim = false);
Tensor mean(const Tensor& x, std::vector<int> axes = {}, bool keepdim = false);
/// The largest element, NaN if there is a NaN. Its gradient is shared equally by all elements that attain it.
Tensor max(const Tensor& x, std::vector<int> axes = {}, bool keepdim = false);
// One axis alone: sum(x, 0). Templates, so that {} stays an empty list, which means all axes, and not the axis 0.
auto sum(const Tensor& x, std::same_as<int> auto axis, bool keepdim = false) {
  return sum(x, std::vector<int>{axis}, keepdim);
}
auto mean(const Tensor& x, std::same_as<int> auto axis, bool keepdim = false) {
  return mean(x, std::vector<int>{axis}, keepdim);
}
auto max(const Tensor& x, std::same_as<int> auto axis, bool keepdim = false) {
  return max(x, std::vector<int>{axis}, keepdim);
}

// --- core/ops/matmul.cpp ---------------------------------------------------------------------------------------------

/// op(a) op(b) with op(x) = x or its transpose in the last two axes: (..., M, K) (..., K, N) -> (..., M, N). Leading
/// (batch) axes broadcast.
Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_a = false, bool transpose_b = false);
/// x weight^T + bias: (..., in) (out, in) (out) -> (..., out). The bias may be undefined.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

// --- core/ops/shape.cpp ------------------------------------------------------------------------------------------

/// The same elements in another shape, sharing x's values. One size may be -1: what remains.
Tensor reshape(const Tensor& x, std::vector<int64_t> shape);
/// Axis i of the result is axis axes[i] of x: PyTorch's permute, but copied.
Tensor permute(const Tensor& x, const std::vector<int>& axes);
/// Swaps two axes.
Tensor transpose(const Tensor& x, int axis1, int axis2);
/// Elements begin <= i < end of one axis.
Tensor slice(const Tensor& x, int axis, int64_t begin, int64_t end);
/// Joins tensors along an axis they already have.
Tensor concat(const std::vector<Tensor>& parts, int axis);
/// Joins tensors of one shape along a new axis.
Tensor stack(const std::vector<Tensor>& parts, int axis);
/// Rows x[index[0]], x[index[1]], ... along the first axis; a row may be taken any number of times. Its gradient is
/// then summed in the order of the index, with a rounding for each time.
Tensor gather_rows(const Tensor& x, const std::vector<int32_t>& index);
/// Row ids[n] of weight (V, D) for each token: (N, D). Throws naming the first id outside the vocabulary.
Tensor embedding(const Tensor& weight, const std::vector<int32_t>& ids);

// --- core/ops/softmax.cpp --------------------------------------------------------------------------------------------

// Both subtract the row's maximum from x first: x and x + c give the same, however large c. A row with a NaN or +inf is
// all NaN.

/// exp(scale x_i) / sum_j exp(scale x_j) along the last axis, scale > 0. A row of -inf (nothing to attend to) gives
/// zeros. Error: a few units in the last place, and scale times those of x - max x; below 1e-38 it is 0.
Tensor softmax(const Tensor& x, Scalar scale = 1);
/// x_i - log sum_j exp(x_j) along the last axis, as (x_i - max x) - log1p(the other terms of the sum): that of a sure
/// prediction, -1e-9 say, does not round to 0. Error: two units in the last place of the largest of the three numbers,
/// and that of the log1p: a few of its own units, and half a unit for each 1 that max x is ahead of the next x.
/// A row of -inf is NaN.
Tensor log_softmax(const Tensor& x);

// --- core/ops/cross_entropy.cpp --------------------------------------------------------------------------------------

struct CrossEntropyOptions {
  /// Of the target's probability, this much is spread evenly over all V classes (Szegedy et al. 2016), as PyTorch does.
  Scalar label_smoothing = 0;
  /// Targets with this id count for nothing.
  int32_t ignore_index = -100;
  /// What the summed loss is divided by; 0: the number of targets not ignored. An update whose gradient is gathered
  /// from several batches passes its total, so that every token weighs the same.
  int64_t normalizer = 0;
  /// If set, receives sum_n -log softmax(logits_n)[targets_n]: the loss without smoothing, of which perplexity is made.
  double* nll = nullptr;
};
/// sum_n -log softmax(logits_n)[targets_n] / normalizer, for logits (N, V): a scalar. Each row's loss is
/// (max x - x_target) + log1p(the other terms of the sum), in double: to 50 roundings of itself, and one more for each
/// 1 that max x is ahead of the next x, for their difference is rounded; whatever large number all logits share. So is
/// the gradient of the target. The others are to those of p.
Tensor cross_entropy(const Tensor& logits, const std::vector<int32_t>& targets,
                     const CrossEntropyOptions& options = {});
/// cross_entropy(linear(x, weight), targets): the same number from x (N, D) and weight (V, D), without ever holding all
/// N x V logits. With thousands of words they would be the largest thing in memory by far.
Tensor linear_cross_entropy(const Tensor& x, const Tensor& weight, const std::vector<int32_t>& targets,
                            const CrossEntropyOptions& options = {});

// --- core/ops/norm.cpp -----------------------------------------------------------------------------------------------

// In every range: rows of 1e38 or 1e-38, whose squares are no numbers any more, are scaled first. Both norms are right
// to 40 units in the last place of the row's largest element; so are their gradients, of the largest of the terms that
// they are sums of. Of a row of 1e8, 1e8 + 8, ... too: the mean is kept to twice the digits of a Scalar.

/// (x - mean) / sqrt(var + eps) * weight + bias over the last axis, var the biased variance (Ba et al. 2016).
Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, Scalar eps = Scalar(1e-5));
/// x / sqrt(mean(x^2) + eps) * weight over groups of weight.numel() features (Zhang, Sennrich 2019). The last axis may
/// hold several groups, such as a head's features each.
Tensor rms_norm(const Tensor& x, const Tensor& weight, Scalar eps = Scalar(1e-5));

// --- core/ops/rope.cpp -----------------------------------------------------------------------------------------------

/// Rotary position embedding (Su et al. 2021, arXiv 2104.09864): in each head of x (N, heads d), features 2i and 2i + 1
/// of the token at position p are rotated by the angle p base^(-2i / d). `positions` has a token's place in its
/// sentence.
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

struct AttentionLayout {
  int heads;      ///< output heads h
  Spans queries;  ///< one per sentence, in the rows of q
  Spans keys;     ///< one per sentence, in the rows of k and v
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
/// The map itself: softmax(Q K^T / sqrt(d)) over the keys that each query may see. (heads, T, d), (heads, S, d) ->
/// (heads, T, S).
Tensor attention_map(const Tensor& q, const Tensor& k, bool causal);

/// The same two functions made of nothing but matmul, softmax and friends: the definition to read first, and the oracle
/// that the fused ones are tested against. The spans of queries must fill q's rows, one after the other.
Tensor plain_attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionLayout& layout);
Tensor plain_diff_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& lambda,
                            const AttentionLayout& layout);

}  // namespace difftensor::inline DT_PRECISION
