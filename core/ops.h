#pragma once
// Every operation on tensors. Each is one function, in the file named above its group: shapes are checked, the result
// computed, the gradient's formula stated and its closure recorded, in that order; or it is a composition of others.
// All throw std::invalid_argument naming the op, the shapes and the rule broken. To add one: core/README.md, "Add an op".
//
// Shape comments use fixed letters:
//   B  sentences in a batch               D  model width
//   T  length of one, on the query side   h  heads of the result
//   S  length of one, on the key side     d  width of a query or key head
//   N  tokens of all sentences together   e  width of a value head
//   M  the same, on the key side          V  vocabulary, or classes
// In matrix products alone, M, K and N are sizes as in BLAS: (M, K) (K, N) -> (M, N).
#include <array>
#include <concepts>
#include <cstdint>
#include <vector>

#include "core/autograd.h"
#include "core/ops/attention.h"  // rope, attention, diff_attention
#include "core/ops/axes.h"
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
Tensor pow(const Tensor& a, const Tensor& b);  ///< a^b; the gradient of b needs a > 0 (where a = 0 and b >= 0 it is 0)
/// max(a, b), NaN if one is; where equal, half the gradient goes to each. And min(a, b).
Tensor maximum(const Tensor& a, const Tensor& b);
Tensor minimum(const Tensor& a, const Tensor& b);
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
Tensor expm1(const Tensor& x);  ///< exp(x) - 1, also where exp(x) would round to 1
Tensor sqrt(const Tensor& x);
Tensor sin(const Tensor& x);  ///< of radians, as cos
Tensor cos(const Tensor& x);
Tensor abs(const Tensor& x);                             ///< |x|, with derivative 0 at 0
Tensor sign(const Tensor& x);                            ///< -1, 0 or 1, with derivative 0
Tensor floor(const Tensor& x);                           ///< the next whole number below, with derivative 0
Tensor clamp(const Tensor& x, Scalar low, Scalar high);  ///< low where x is below, high where it is above

// Masks for where() and masked_fill(): 1 where the relation holds, 0 elsewhere. They have no gradient.
Tensor eq(const Tensor& a, const Tensor& b);  ///< a = b
Tensor ne(const Tensor& a, const Tensor& b);  ///< a != b
Tensor lt(const Tensor& a, const Tensor& b);  ///< a < b
Tensor le(const Tensor& a, const Tensor& b);  ///< a <= b
Tensor gt(const Tensor& a, const Tensor& b);  ///< a > b
Tensor ge(const Tensor& a, const Tensor& b);  ///< a >= b
inline Tensor eq(const Tensor& a, Scalar b) { return eq(a, scalar(b)); }
inline Tensor ne(const Tensor& a, Scalar b) { return ne(a, scalar(b)); }
inline Tensor lt(const Tensor& a, Scalar b) { return lt(a, scalar(b)); }
inline Tensor le(const Tensor& a, Scalar b) { return le(a, scalar(b)); }
inline Tensor gt(const Tensor& a, Scalar b) { return gt(a, scalar(b)); }
inline Tensor ge(const Tensor& a, Scalar b) { return ge(a, scalar(b)); }

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

Tensor tanh(const Tensor& x);                                     ///< to 2 ulp, its derivative to 2 + 2 |x|
Tensor sigmoid(const Tensor& x);                                  ///< 1 / (1 + exp(-x)), to 3 ulp, its derivative to 6
Tensor relu(const Tensor& x);                                     ///< max(x, 0), with derivative 0 at 0, NaN at NaN
Tensor leaky_relu(const Tensor& x, Scalar slope = Scalar(0.01));  ///< x if x > 0, else slope x
Tensor elu(const Tensor& x, Scalar alpha = 1);                    ///< x if x > 0, else alpha (exp(x) - 1)
Tensor softplus(const Tensor& x);                                 ///< log(1 + exp(x)), to 3 ulp
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
// Axes (core/ops/axes.h): sum(x) over all, sum(x, 0), sum(x, {0, -1}). Reduced axes vanish unless `keepdim`. Sums,
// squares and products are in double and in a fixed order: in float, the sum of n elements is right to half a unit in
// the last place, and n 2^-53 times the sum of their magnitudes. A mean is that sum divided by n, before it is rounded.

Tensor sum(const Tensor& x, const Axes& axes = {}, bool keepdim = false);
Tensor mean(const Tensor& x, const Axes& axes = {}, bool keepdim = false);
/// The largest element, NaN if there is a NaN. Its gradient is shared equally by all elements that attain it.
Tensor max(const Tensor& x, const Axes& axes = {}, bool keepdim = false);
Tensor min(const Tensor& x, const Axes& axes = {}, bool keepdim = false);
Tensor prod(const Tensor& x, const Axes& axes = {}, bool keepdim = false);
/// sum_i (x_i - mean)^2 / (n - correction): the unbiased variance, or the biased one with a correction of 0.
Tensor var(const Tensor& x, const Axes& axes = {}, bool keepdim = false, int64_t correction = 1);
/// Its root, whose gradient is 0 where all x are equal. (Its gradient and norm's use the result in double.)
Tensor stddev(const Tensor& x, const Axes& axes = {}, bool keepdim = false, int64_t correction = 1);
/// sqrt(sum_i x_i^2), whose gradient is 0 at 0.
Tensor norm(const Tensor& x, const Axes& axes = {}, bool keepdim = false);
/// y_i = x_0 + ... + x_i along one axis.
Tensor cumsum(const Tensor& x, int axis);

// --- core/ops/matmul.cpp ---------------------------------------------------------------------------------------------

/// op(a) op(b) with op(x) = x or its transpose in the last two axes: (..., M, K) (..., K, N) -> (..., M, N). Leading
/// (batch) axes broadcast. A vector (K) is a row on the left and a column on the right, and its axis of 1 vanishes:
/// (M, K) (K) -> (M), (K) (K, N) -> (N), (K) (K) -> a scalar.
Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_a = false, bool transpose_b = false);
/// x weight^T + bias: (..., in) (out, in) (out) -> (..., out). The bias may be undefined.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

// --- core/ops/shape.cpp ------------------------------------------------------------------------------------------

/// The same elements in another shape, sharing x's values. One size may be -1: what remains.
Tensor reshape(const Tensor& x, std::vector<int64_t> shape);
/// Axis i of the result is axis axes[i] of x: PyTorch's permute, but copied.
Tensor permute(const Tensor& x, const std::vector<int>& axes);
/// Swaps two axes; x itself if they are one.
Tensor transpose(const Tensor& x, int axis1, int axis2);
/// Elements begin <= i < end of one axis.
Tensor slice(const Tensor& x, int axis, int64_t begin, int64_t end);
/// Joins tensors along an axis they already have.
Tensor concat(const std::vector<Tensor>& parts, int axis);
/// Joins tensors of one shape along a new axis.
Tensor stack(const std::vector<Tensor>& parts, int axis);
/// Takes out an axis of size 1, or puts one in.
Tensor squeeze(const Tensor& x, int axis);
Tensor unsqueeze(const Tensor& x, int axis);
/// x stretched to a shape that it broadcasts to; copied.
Tensor expand(const Tensor& x, const Shape& shape);
/// Pieces of `size` along an axis, the last one what is left; or `count` pieces (fewer if they do not come out even).
std::vector<Tensor> split(const Tensor& x, int64_t size, int axis = 0);
std::vector<Tensor> chunk(const Tensor& x, int64_t count, int axis = 0);
/// x[0], x[1], ... along an axis, which vanishes.
std::vector<Tensor> unbind(const Tensor& x, int axis = 0);
/// In reverse order along these axes.
Tensor flip(const Tensor& x, const Axes& axes);
/// The elements on and below (tril), or on and above (triu), a diagonal of the last two axes; 0 elsewhere. Diagonal 1
/// is the one above the main one.
Tensor tril(const Tensor& x, int64_t diagonal = 0);
Tensor triu(const Tensor& x, int64_t diagonal = 0);
/// A border of `value`: widths before and after along the last axis, then along the one before it, ..., as PyTorch's.
Tensor pad(const Tensor& x, const std::vector<int64_t>& widths, Scalar value = 0);

// --- core/ops/index.cpp ----------------------------------------------------------------------------------------------

/// Whole numbers in a shape: places along an axis, or classes. They have no gradient.
struct Index {
  Index(std::vector<int32_t> places, const Shape& sizes);  ///< throws if their number is not the shape's
  Index(std::vector<int32_t> places) : Index(places, {static_cast<int64_t>(places.size())}) {}
  std::vector<int32_t> values;  ///< row-major
  Shape shape;
};
/// Elements by size, and where along the axis each was found.
struct Sorted {
  Tensor values;
  Index indices;
};

/// Where along the axis the largest element is. NaN is above any number; of equals it is the first. So in sort.
Index argmax(const Tensor& x, int axis, bool keepdim = false);
/// The k largest along an axis, the largest first.
Sorted topk(const Tensor& x, int64_t k, int axis = -1);
Sorted sort(const Tensor& x, int axis = -1, bool descending = false);
/// x at the places named along the axis: y[i][j] = x[index[i][j]][j] for axis 0. Other axes have one size in both.
Tensor gather(const Tensor& x, int axis, const Index& index);
/// A copy of x with y[index[i][j]][j] += source[i][j], for axis 0; rounded as a sum in runs (add_at_places, index.cpp).
Tensor scatter_add(const Tensor& x, int axis, const Index& index, const Tensor& source);
/// x at places index[0], index[1], ... of one axis; for the first axis, gather_rows().
Tensor index_select(const Tensor& x, int axis, const std::vector<int32_t>& index);
/// 1 at the class of each, 0 at the other classes: (..., classes).
Tensor one_hot(const Index& index, int64_t classes);
/// Rows x[index[0]], x[index[1]], ... along the first axis; a row may be taken any number of times. Its gradient is
/// then summed in the order of the index, with a rounding for each time.
Tensor gather_rows(const Tensor& x, const std::vector<int32_t>& index);
/// Row ids[n] of weight (V, D) for each token: (N, D). Throws naming the first id outside the vocabulary.
Tensor embedding(const Tensor& weight, const std::vector<int32_t>& ids);
/// Uniform whole numbers, low <= n < high.
Index randint(int32_t low, int32_t high, const Shape& shape, Random& random);
/// 0 ... n - 1 in random order.
std::vector<int32_t> randperm(int32_t n, Random& random);
/// `count` classes for each row of p (..., V), each with a probability in proportion to p; without replacement, none
/// twice. p >= 0, and at least one, or `count`, must be positive.
Index multinomial(const Tensor& p, int64_t count, Random& random, bool replacement = false);

// --- core/ops/softmax.cpp --------------------------------------------------------------------------------------------

// softmax and log_softmax subtract the row's maximum from x first: x and x + c give the same, however large c. A row
// with a NaN or +inf is all NaN.

/// exp(scale x_i) / sum_j exp(scale x_j) along the last axis, scale > 0. A row of -inf (nothing to attend to) gives
/// zeros. Error: a few units in the last place, and scale times those of x - max x; below 1e-38 it is 0.
Tensor softmax(const Tensor& x, Scalar scale = 1);
/// An axis, as PyTorch has it there, would be taken for a scale. Along another axis than the last: along() (axes.h).
Tensor softmax(const Tensor& x, std::integral auto axis) = delete;
/// x_i - log sum_j exp(x_j) along the last axis, as (x_i - max x) - log1p(the other terms of the sum): that of a sure
/// prediction, -1e-9 say, does not round to 0. Error: two units in the last place of the largest of the three numbers,
/// and that of the log1p: a few of its own units, and half a unit for each 1 that max x is ahead of the next x.
/// A row of -inf is NaN.
Tensor log_softmax(const Tensor& x);
/// log sum_i exp(x_i) along an axis, as max x + log1p(the other terms of the sum): to two units in the last place of
/// the larger of both; -inf if all x are, inf if one is and none is NaN (its gradient, softmax, is NaN then).
Tensor logsumexp(const Tensor& x, int axis = -1, bool keepdim = false);

// --- core/ops/cross_entropy.cpp --------------------------------------------------------------------------------------

/// How targets count.
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
// to 40 units in the last place of the row's largest element; of 1e8, 1e8 + 8, ... too: the mean is kept to twice the
// digits of a Scalar. Gradients, in float, are right to 40, 75 or 140 units of the largest of the terms that they are
// sums of, with 16, 8 or 4 Scalars in a SIMD register; in double, each run of 1,024 elements adds a rounding.

/// (x - mean) / sqrt(var + eps) * weight + bias over the last axis, var the biased variance (Ba et al. 2016).
Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, Scalar eps = Scalar(1e-5));
/// x / sqrt(mean(x^2) + eps) * weight over groups of weight.numel() features (Zhang, Sennrich 2019). The last axis may
/// hold several groups, such as a head's features each.
Tensor rms_norm(const Tensor& x, const Tensor& weight, Scalar eps = Scalar(1e-5));

/// Any op of the last axis along another one: along(x, 1, [](const Tensor& t) { return softmax(t); }).
template <class Op>
Tensor along(const Tensor& x, int axis, Op op) {
  return transpose(op(transpose(x, axis, -1)), axis, -1);
}

// --- core/ops/convolution.cpp ----------------------------------------------------------------------------------------

using HeightWidth = std::array<int64_t, 2>;  ///< down and across

/// How a kernel moves over an image.
struct ConvOptions {
  int64_t stride = 1, padding = 0, dilation = 1;  ///< the same along both axes
  int64_t groups = 1;                             ///< channels in so many groups, each seen by its own outputs alone
};
/// Every window of x (B, C, H, W), as a column: (B, C size, windows), PyTorch's unfold.
Tensor unfold(const Tensor& x, HeightWidth size, HeightWidth stride = {1, 1}, HeightWidth dilation = {1, 1});
/// y[b][o][i][j] = bias[o] + sum_c,p,q weight[o][c][p][q] x[b][c][i stride + p dilation][j stride + q dilation], with x
/// padded with zeros: (B, C, H, W), (out, C / groups, k, k') -> (B, out, H', W'), where
/// H' = (H + 2 padding - dilation (k - 1) - 1) / stride + 1, rounded down. The bias may be undefined.
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, const ConvOptions& options = {});
/// The same along one axis: (B, C, L), (out, C / groups, k) -> (B, out, L'). A causal one is that of
/// pad(x, {k - 1, 0}), a depthwise one that of groups = C.
Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, const ConvOptions& options = {});
/// The largest, or the mean, of each window of size x size; stride 0 is the size. pad() with -inf, or 0, comes before.
Tensor max_pool2d(const Tensor& x, int64_t size, int64_t stride = 0);
Tensor avg_pool2d(const Tensor& x, int64_t size, int64_t stride = 0);
Tensor max_pool1d(const Tensor& x, int64_t size, int64_t stride = 0);
Tensor avg_pool1d(const Tensor& x, int64_t size, int64_t stride = 0);

}  // namespace difftensor::inline DT_PRECISION
