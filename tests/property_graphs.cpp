// Random programs: graphs of up to 40 ops, run on tensors, and on arrays of doubles by the ops' definitions.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/property.h"

using namespace property;

namespace {
// Leaves and results of ops, in the order of the computation. An op's inputs come before it.
struct Program {
  struct Node {
    bool leaf;
    Op op;
    std::vector<int> inputs;
  };
  std::vector<Node> nodes;

  // The last node's value. `apply` calls an op's version for T.
  template <class T, class Apply>
  T run(const std::vector<T>& leaves, Apply apply) const {
    std::vector<T> values;
    size_t leaf = 0;
    for (const Node& node : nodes) {
      std::vector<T> in;
      for (int i : node.inputs) in.push_back(values[i]);
      values.push_back(node.leaf ? leaves[leaf++] : apply(node.op, in));
    }
    return values.back();
  }
  std::string text() const {
    std::ostringstream out;
    for (size_t i = 0; i < nodes.size(); ++i) {
      out << "\n  " << i << " = " << (nodes[i].leaf ? "leaf" : nodes[i].op.text);
      for (int input : nodes[i].inputs) out << ' ' << input;
    }
    return out.str();
  }
};

// Writes a program op by op. It knows all values, to keep them in a range where float has digits to compare.
class Writer {
 public:
  explicit Writer(Draw& draw) : d(draw) {
    while (d.below(3) || leaves.empty()) leaf(small());
    for (int64_t ops = d.between(5, 40), tries = 0; ops > 0 && tries < 500; ++tries) ops -= step();
    finish();
  }
  Program program;
  Arrays leaves;

 private:
  Shape small() {
    Shape shape;
    for (int64_t rank = d.one_of<int64_t>({0, 1, 2, 2, 2, 3}); rank > 0; --rank) shape.push_back(d.between(1, 5));
    return shape;
  }
  int leaf(const Shape& shape) {
    Array x(shape);
    for (double& value : x.v) value = static_cast<double>(static_cast<Scalar>(d.normal()));
    leaves.push_back(x);
    values.push_back(x);
    program.nodes.push_back({true, {}, {}});
    return last();
  }
  int last() const { return static_cast<int>(values.size()) - 1; }
  // Any node; more often a late one. In place of one that was too large, its multiple, which is the next.
  int any() {
    const int64_t n = last() + 1;
    int i = static_cast<int>(d.flip() ? d.below(n) : n - 1 - d.below(std::min<int64_t>(n, 4)));
    while (i < last() && largest(values[i]) > 4) ++i;
    return i;
  }
  // One of this shape, if there is one, or a new leaf.
  int of_shape(const Shape& shape) {
    for (int tries = 0; tries < 12; ++tries)
      if (const int i = any(); values[i].shape == shape) return i;
    return leaf(shape);
  }
  bool above(int i, double least) const {
    return std::all_of(values[i].v.begin(), values[i].v.end(), [=](double x) { return x > least; });
  }
  bool add(const Op& op, const std::vector<int>& inputs) {
    Arrays in;
    for (int i : inputs) in.push_back(values[i]);
    const Array value = op.reference(in);
    if (value.v.size() > 80 || !(largest(value) < 1000)) return false;
    values.push_back(value);
    program.nodes.push_back({false, op, inputs});
    if (largest(value) > 4) scale(0.5 * std::exp2(-std::floor(std::log2(largest(value) / 4))));
    return true;
  }
  // The last node times a power of two.
  void scale(double factor) {
    add({"times a number", [=](const Tensors& x) { return x[0] * static_cast<Scalar>(factor); },
         [=](const Arrays& x) { return elementwise(x, [=](const double* v) { return v[0] * factor; }); }},
        {last()});
  }

  // Adds an op on random nodes; false if the chosen one does not fit the chosen nodes.
  bool step() {
    const int i = any();
    const Shape shape = values[i].shape;
    const int rank = shape.rank();
    switch (d.below(12)) {
      case 0:
        return one(i);
      case 1:
        return two(i);
      case 2:
        return rank > 0 && add(reduction(d.one_of<std::string>({"sum", "mean", "max"}), d.axes(rank), d.flip()), {i});
      case 3:
        return rank >= 2 && product(i);
      case 4:
        return move(i);
      case 5:
        return rank > 0 && join(i);
      case 6:
        return rank > 0 && add(d.flip() ? softmax_op(d.number(0.3, 2)) : log_softmax_op(), {i});
      case 7:
        return rank > 0 && norm(i);
      case 8:
        return rank == 2 && attend(i);
      case 9:
        return rank == 2 && loss(i);
      case 10:
        return add(masked_fill_op(d.mask(shape), d.number(-1, 1)), {i});
      default:
        return add(where_op(d.mask(shape)), {i, of_shape(shape)});
    }
  }
  bool one(int i) {
    switch (d.below(10)) {
      case 0:
        return add(unary("neg", neg, [](double x) { return -x; }), {i});
      case 1:
        return largest(values[i]) < 2 && add(unary("exp", exp, std::exp), {i});
      case 2:
        return above(i, 0.2) && add(unary("log", log, std::log), {i});
      case 3:
        return above(i, -0.5) && add(unary("log1p", log1p, std::log1p), {i});
      case 4:
        return above(i, 0.2) && add(unary("sqrt", sqrt, std::sqrt), {i});
      case 5:
        return add(unary("tanh", tanh, std::tanh), {i});
      case 6:
        return add(unary("sigmoid", sigmoid, sigmoid_of), {i});
      case 7:
        return add(unary("relu", relu, [](double x) { return std::max(x, 0.0); }), {i});
      case 8:
        return add(unary("gelu", gelu, gelu_of), {i});
      default:
        return add(unary("silu", silu, [](double x) { return x * sigmoid_of(x); }), {i});
    }
  }
  bool two(int i) {
    const bool stretch = d.flip();
    const Shape shape = values[i].shape;
    const int j = of_shape(stretch ? d.stretchable(shape) : shape);
    const std::vector<int> both = d.flip() ? std::vector<int>{i, j} : std::vector<int>{j, i};
    switch (d.below(7)) {
      case 0:
        return add(binary("add", difftensor::add, [](double a, double b) { return a + b; }), both);
      case 1:
        return add(binary("sub", sub, [](double a, double b) { return a - b; }), both);
      case 2:
        return add(binary("mul", mul, [](double a, double b) { return a * b; }), both);
      case 3:
        return above(both[1], 0.3) && add(binary("div", div, [](double a, double b) { return a / b; }), both);
      case 4:
        return above(both[0], 0.3) && add(binary("pow", pow, [](double a, double b) { return std::pow(a, b); }), both);
      case 5:
        return add(binary("maximum", maximum, [](double a, double b) { return std::max(a, b); }), both);
      default:
        return !stretch &&
               add(binary("swiglu", swiglu, [](double a, double b) { return a * sigmoid_of(a) * b; }), both);
    }
  }
  bool product(int i) {
    const Shape shape = values[i].shape;
    const int rank = shape.rank();
    if (d.below(3) == 0) {
      const int64_t out = d.between(1, 5);
      std::vector<int> in = {i, of_shape({out, shape.back()})};
      if (d.flip()) in.push_back(of_shape({out}));
      return add(linear_op(), in);
    }
    const bool ta = d.flip(), tb = d.flip();
    if (d.below(4) == 0) return add(matmul_op(ta, !ta), {i, i});
    const int64_t K = shape[ta ? rank - 2 : rank - 1], N = d.between(1, 5);
    return add(matmul_op(ta, tb), {i, of_shape(tb ? Shape{N, K} : Shape{K, N})});
  }
  bool move(int i) {
    const Shape shape = values[i].shape;
    const int rank = shape.rank();
    if (d.below(4) == 0) return add(reshape_op({shape.numel()}), {i});
    if (rank == 0) return add(reshape_op({1, 1}), {i});
    const int axis = static_cast<int>(d.below(rank));
    if (d.below(3) == 0) return add(permute_op(d.order(rank)), {i});
    if (d.flip()) return add(transpose_op(axis, -1), {i});
    const int64_t begin = d.below(shape[axis]);
    return add(slice_op(axis, begin, d.between(begin + 1, shape[axis])), {i});
  }
  bool join(int i) {
    const Shape shape = values[i].shape;
    const int axis = static_cast<int>(d.below(shape.rank()));
    if (d.below(3) == 0) return add(gather_op(d.ids(d.between(1, 5), shape[0]), false), {i});
    return add(d.flip() ? concat_op(axis) : stack_op(axis), {i, of_shape(shape), d.flip() ? i : of_shape(shape)});
  }
  bool norm(int i) {
    // With an eps that keeps the curvature of rows that are nearly constant within what a quotient can follow.
    const Shape features{values[i].shape.back()};
    if (d.flip()) return add(rms_norm_op(Scalar(0.1)), {i, of_shape(features)});
    return add(layer_norm_op(Scalar(0.1)), {i, of_shape(features), of_shape(features)});
  }
  bool attend(int i) {
    const int64_t N = values[i].shape[0], D = values[i].shape[1];
    if (D % 2 == 0 && d.below(4) == 0) return add(rope_op(1, d.ids(N, 20), 10000), {i});
    const bool diff = d.flip() && D % 2 == 0, plain = d.flip(), self = d.flip();
    const int64_t M = self ? N : d.between(1, 5), first = d.below(N + 1);
    // Two sentences. In self-attention i may be the keys and values too.
    const Spans queries = {{0, first}, {first, N - first}};
    const AttentionLayout layout{1, queries, self ? queries : Spans{{0, M / 2}, {M / 2, M - M / 2}}, d.flip()};
    std::vector<int> in = {i, of_shape({M, D}), of_shape({M, D})};
    if (diff) in.push_back(of_shape({}));
    return add(attention_op(diff, layout, plain), in);
  }
  bool loss(int i) {
    const int64_t N = values[i].shape[0], V = values[i].shape[1];
    const CrossEntropyOptions options{.label_smoothing = d.number(0, 0.5), .normalizer = N};
    if (d.flip()) return add(cross_entropy_op(d.ids(N, V), options, false), {i});
    const int64_t classes = d.between(2, 6);
    return add(cross_entropy_op(d.ids(N, classes), options, true), {i, of_shape({classes, V})});
  }
  // All that no op has used, in one row.
  void finish() {
    std::vector<bool> used(values.size(), false);
    for (const Program::Node& node : program.nodes)
      for (int i : node.inputs) used[i] = true;
    std::vector<int> ends;
    for (int i = 0, n = last(); i <= n; ++i) {
      if (used[i]) continue;
      const Shape flat{values[i].shape.numel()};
      program.nodes.push_back({false, reshape_op(flat), {i}});
      values.push_back(reshape_op(flat).reference({values[i]}));
      ends.push_back(last());
    }
    program.nodes.push_back({false, concat_op(0), ends});
  }

  Draw& d;
  Arrays values;
};
}  // namespace

TEST_CASE("property: a random graph of ops computes what their definitions do, and so do its gradients") {
  const Threads one(1);
  Quotients all;
  for (int i = 0; i < cases(1000); ++i) {
    Draw draw("graph", i);
    const Writer writer(draw);
    const Program& program = writer.program;
    INFO("DT_PROPERTY_SEED=", seed(), ", graph, case ", i, program.text());
    const Op op{
        "graph",
        [&](const Tensors& x) { return program.run(x, [](const Op& op, const Tensors& in) { return op.run(in); }); },
        [&](const Arrays& x) {
          return program.run(x, [](const Op& op, const Arrays& in) { return op.reference(in); });
        }};
    const auto of = [&](const Arrays& x) {
      const Array y = op.reference(x);
      return Array(y.shape, std::max(1.0, largest(y)));
    };
    const Quotients one = check({op, writer.leaves, 200, of, 1000, false, 2}, draw);
    all.taken += one.taken, all.kinks += one.kinks;
  }
  CHECK_MESSAGE(all.kinks <= 2 + all.taken / 50, all.kinks, " kinks in ", all.taken, " elements");
}
