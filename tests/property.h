#pragma once
// What the property tests share: random cases, each op beside its definition in double, and the comparison of the two.
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "core/ops.h"
#include "tests/testing.h"

namespace property {
using namespace difftensor;

/// An array of doubles: what the definitions compute with, in either precision.
struct Array {
  Array() = default;
  explicit Array(const Shape& shape, double value = 0) : shape(shape), v(shape.numel(), value) {}
  Shape shape;
  std::vector<double> v;
};
using Arrays = std::vector<Array>;
using Tensors = std::vector<Tensor>;
Tensor to_tensor(const Array& x);
Array to_array(const Tensor& x);

/// DT_PROPERTY_SEED, and how many cases of a kind to draw: DT_PROPERTY_CASES, or `usual`.
uint64_t seed();
int cases(int usual);

enum class Values {
  any,       ///< normal, of a random scale
  plus,      ///< between 0.2 and 8
  nonzero,   ///< the same with random signs
  distinct,  ///< no two alike, none 0, far apart: for functions with a kink
};

/// Random choices. Case `number` of the kind `name` is the same whatever was drawn before it.
class Draw {
 public:
  Draw(const std::string& name, int number, bool large = false);
  int64_t below(int64_t n) { return static_cast<int64_t>(random_.below(static_cast<uint64_t>(n))); }
  int64_t between(int64_t low, int64_t high) { return low + below(high - low + 1); }
  bool flip() { return below(2) == 1; }
  double normal() { return static_cast<double>(random_.normal()); }
  template <class T>
  T one_of(const std::vector<T>& choices) {
    return choices[below(static_cast<int64_t>(choices.size()))];
  }
  /// A Scalar between low and high.
  Scalar number(double low, double high) {
    return static_cast<Scalar>(low + (high - low) * static_cast<double>(random_.uniform()));
  }
  /// 1 or more; small, or at the edge of a tile; of a size that threads share if `large`.
  int64_t size();
  /// Sizes of up to `most` elements in all. An axis in 30 is empty if `empty`.
  Shape shape(int least_rank, int most_rank, bool empty = false);
  /// One of the shapes that stretch to this one.
  Shape stretchable(const Shape& shape);
  Array values(const Shape& shape, Values kind = Values::any);
  /// 1 with probability 1/3, else 0; of a shape that stretches to this one.
  Array mask(const Shape& shape);
  /// Axes to reduce: none, which means all, or some in any order.
  std::vector<int> axes(int rank);
  std::vector<int32_t> ids(int64_t count, int64_t below);
  std::vector<int> order(int rank);

  const bool large;

 private:
  Random random_;
};

/// An op of the library, and what it is, in double.
struct Op {
  std::string text;
  std::function<Tensor(const Tensors&)> run;
  std::function<Array(const Arrays&)> reference;
};

struct Case {
  Op op;
  Arrays inputs;
  double ulps = 0;                              ///< the result is right to so many units in the last place ...
  std::function<Array(const Arrays&)> of = {};  ///< ... of these numbers; if empty, of itself
  /// The gradient of an element is a sum over the elements of the result, and right to so many units of the sum of
  /// their magnitudes; or, unless `sharp`, of the tensor's largest such sum.
  double gradient_ulps = 16;
  bool sharp = true;
  int elements = 6;  ///< of each input, whose gradient is compared
};
/// How many difference quotients were taken; how many of them were left out, at a kink or a sharp bend.
struct Quotients {
  int taken = 0, kinks = 0;
};
/// Compares forward and backward of the case's op with its definition. Draws which inputs need a gradient.
Quotients check(const Case& c, Draw& draw);
/// Compares the gradient, given dL/d(result), of some elements of each input with difference quotients of the
/// definition. An input whose gradient is not defined is left out.
Quotients check_gradients(const Case& c, Draw& draw, const Tensors& gradients, const Array& seed);

/// A kind of random case. `name` begins with the op's.
struct Kind {
  std::string name;
  std::function<Case(Draw&)> draw;
};
void elementwise_kinds(std::vector<Kind>& kinds);
void shape_kinds(std::vector<Kind>& kinds);
void matrix_kinds(std::vector<Kind>& kinds);
void row_kinds(std::vector<Kind>& kinds);
void attention_kinds(std::vector<Kind>& kinds);
void pieces_on_elements(std::vector<Kind>& kinds);
void pieces_on_lines(std::vector<Kind>& kinds);
void pieces_that_move(std::vector<Kind>& kinds);
void convolution_kinds(std::vector<Kind>& kinds);
std::vector<Kind> all_kinds();

// --- The definitions (property_reference.cpp) ----------------------------------------------------------------------

Shape stretched(const std::vector<Shape>& shapes);
Array elementwise(const Arrays& in, const std::function<double(const double*)>& f);
Array map(const Array& x, double (*f)(double));
/// The largest finite magnitude.
double largest(const Array& x);
Array matmul_of(const Array& a, const Array& b, bool ta, bool tb);
/// f(from, to) for each run of `width` elements.
Array rows(const Array& x, int64_t width, const std::function<void(const double*, double*)>& f);

double sigmoid_of(double x);
double gelu_of(double x);

// The ops beside their definitions.
using Unary = Tensor (*)(const Tensor&);
using Binary = Tensor (*)(const Tensor&, const Tensor&);
using Reduction = Tensor (*)(const Tensor&, const Axes&, bool);
Op unary(const std::string& name, Unary run, double (*f)(double));
Op binary(const std::string& name, Binary run, double (*f)(double, double));
/// sum, mean, max, min or prod
Op reduction(const std::string& name, const std::vector<int>& axes, bool keepdim);
Op matmul_op(bool ta, bool tb);
Op linear_op();
Op reshape_op(const Shape& shape);
Op permute_op(const std::vector<int>& axes);
Op transpose_op(int axis1, int axis2);
Op where_op(const Array& mask);
Op masked_fill_op(const Array& mask, Scalar value);
Op slice_op(int axis, int64_t begin, int64_t end);
Op concat_op(int axis);
Op stack_op(int axis);
Op gather_op(const std::vector<int32_t>& index, bool embedding);
Op softmax_op(Scalar scale);
Op log_softmax_op();
Op cross_entropy_op(const std::vector<int32_t>& targets, const CrossEntropyOptions& options, bool with_linear);
Op layer_norm_op(Scalar eps);
Op rms_norm_op(Scalar eps);
Op rope_op(int heads, const std::vector<int32_t>& positions, double base);
Op sinusoids_op(const std::vector<int32_t>& positions, int64_t width);
Op split_heads_op(const Span& span, int64_t heads);
Op attention_map_op(bool causal);
/// q, k, v: attention; and lambda: diff_attention.
Op attention_op(bool diff, const AttentionLayout& layout, bool plain);

}  // namespace property
