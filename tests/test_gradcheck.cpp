// The gradient of every op, checked against central differences; and the checker itself.
#include <doctest/doctest.h>
#include <omp.h>

#include <cmath>
#include <fstream>
#include <set>

#include "core/gradcheck.h"
#include "core/ops.h"

using namespace difftensor;

namespace {
using Inputs = const std::vector<Tensor>&;

// The signs of a row's inputs: random, or plus where the op asks for it.
enum Sign { Any, Plus };

struct Row {
  std::string name;  // the function's, then what is special
  std::function<Tensor(Inputs)> f;
  std::vector<Shape> shapes;
  Sign sign = Any;
};

// A mask with every third element set.
Tensor every_third(const Shape& shape) {
  Tensor mask = zeros(shape);
  for (int64_t i = 0; i < mask.numel(); i += 3) mask.data()[i] = 1;
  return mask;
}

// A call of each kind of attention on packed sentences: x holds q, k, v and, for diff, lambda.
std::function<Tensor(Inputs)> attend(int heads, const std::vector<int64_t>& queries, const std::vector<int64_t>& keys,
                                     bool causal, bool plain) {
  const AttentionLayout layout{heads, packed_spans(queries), packed_spans(keys), causal};
  return [=](Inputs x) {
    if (x.size() == 3) return (plain ? plain_attention : attention)(x[0], x[1], x[2], layout);
    return (plain ? plain_diff_attention : diff_attention)(x[0], x[1], x[2], x[3], layout);
  };
}

std::vector<Row> table() {
  std::vector<Row> rows;
  const auto row = [&](const std::string& name, std::function<Tensor(Inputs)> f, const std::vector<Shape>& shapes,
                       Sign sign = Any) {
    rows.push_back({name, std::move(f), shapes, sign});
  };

  // Elementwise with two operands: every way to broadcast.
  const std::vector<std::pair<const char*, Tensor (*)(const Tensor&, const Tensor&)>> binary = {
      {"add", add}, {"sub", sub}, {"mul", mul}, {"div", div}, {"maximum", maximum}, {"pow", pow}};
  for (auto [name, f] : binary) {
    const auto both = [f = f](Inputs x) { return f(x[0], x[1]); };
    for (const auto& [a, b] : std::vector<std::pair<Shape, Shape>>{{{3, 5}, {3, 5}},           // none
                                                                   {{3, 5}, {5}},              // a row
                                                                   {{3, 5}, {3, 1}},           // a column
                                                                   {{3, 5}, {}},               // a scalar
                                                                   {{3, 5}, {1, 1}},           //
                                                                   {{3, 1}, {1, 5}},           // both stretched
                                                                   {{2, 3, 1, 5}, {3, 4, 1}},  // leading and inner axes
                                                                   {{2, 1, 5}, {2, 3, 5}},     // a middle axis
                                                                   {{1}, {1}}}) {
      row(name, both, {a, b}, Plus);
      row(name, both, {b, a}, Plus);
    }
    row(
        name, [f = f](Inputs x) { return f(x[0], x[0]); }, {{3, 5}}, Plus);
  }
  row("mul signs", [](Inputs x) { return x[0] * x[1]; }, {{3, 5}, {3, 5}});
  row("div signs", [](Inputs x) { return x[0] / x[1]; }, {{3, 5}, {3, 5}});
  row(
      "pow signs", [](Inputs x) { return pow(x[0], x[1]); }, {{3, 5}, {5}}, Plus);
  row("swiglu", [](Inputs x) { return swiglu(x[0], x[1]); }, {{3, 5}, {3, 5}});
  row("swiglu twice x", [](Inputs x) { return swiglu(x[0], x[0]); }, {{3, 5}});
  row("where", [](Inputs x) { return where(every_third({3, 5}), x[0], x[1]); }, {{3, 5}, {3, 5}});
  row("where broadcast", [](Inputs x) { return where(every_third({4, 1}), x[0], x[1]); }, {{2, 1, 5}, {5}});
  row("where scalars", [](Inputs x) { return where(every_third({4, 5}), x[0], x[1]); }, {{}, {1, 1}});
  row("masked_fill", [](Inputs x) { return masked_fill(x[0], every_third({3, 5}), 2); }, {{3, 5}});
  row("masked_fill broadcast", [](Inputs x) { return masked_fill(x[0], every_third({4, 1}), 2); }, {{2, 4, 3}});

  // Elementwise with one.
  row("add number", [](Inputs x) { return 2 - (x[0] + 3); }, {{3, 5}});
  row("mul number", [](Inputs x) { return 2 * x[0] / 3; }, {{3, 5}});
  row("div number", [](Inputs x) { return 2 / x[0]; }, {{3, 5}});
  row("pow number", [](Inputs x) { return pow(x[0], Scalar{3}); }, {{3, 5}});
  row(
      "pow fraction", [](Inputs x) { return pow(x[0], Scalar(-1.5)); }, {{3, 5}}, Plus);
  row("neg", [](Inputs x) { return -x[0]; }, {{3, 5}});
  row("exp", [](Inputs x) { return exp(x[0]); }, {{3, 5}});
  row("exp scalar", [](Inputs x) { return exp(x[0]); }, {{}});
  row(
      "log", [](Inputs x) { return log(x[0]); }, {{3, 5}}, Plus);
  row(
      "log1p", [](Inputs x) { return log1p(x[0]); }, {{3, 5}}, Plus);
  row(
      "sqrt", [](Inputs x) { return sqrt(x[0]); }, {{3, 5}}, Plus);
  row("tanh", [](Inputs x) { return tanh(x[0]); }, {{3, 5}});
  row("sigmoid", [](Inputs x) { return sigmoid(x[0]); }, {{3, 5}});
  row("relu", [](Inputs x) { return relu(x[0]); }, {{3, 5}});
  row("gelu", [](Inputs x) { return gelu(x[0]); }, {{3, 5}});
  row("silu", [](Inputs x) { return silu(x[0]); }, {{3, 5}});
  row("dropout", [](Inputs x) { return manual_seed(3), dropout(x[0], Scalar(0.4)); }, {{7, 5}});

  // Reductions.
  const std::vector<std::pair<const char*, Tensor (*)(const Tensor&, std::vector<int>, bool)>> reductions = {
      {"sum", sum}, {"mean", mean}, {"max", max}};
  for (auto [name, f] : reductions) {
    for (const auto& axes : std::vector<std::vector<int>>{{}, {0}, {1}, {-1}, {0, 2}, {1, 2}, {-1, 0, 1}})
      for (bool keepdim : {false, true})
        row(name, [=, f = f](Inputs x) { return f(x[0], axes, keepdim); }, {{3, 2, 5}});
    row(name, [f = f](Inputs x) { return f(x[0], {}, false); }, {{}});
  }

  // Matrix products.
  for (bool ta : {false, true})
    for (bool tb : {false, true}) {
      const auto product = [=](Inputs x) { return matmul(x[0], x[1], ta, tb); };
      const Shape a = ta ? Shape{3, 2} : Shape{2, 3}, b = tb ? Shape{5, 3} : Shape{3, 5};
      const auto batches = [](std::vector<int64_t> axes, const Shape& matrix) {
        axes.insert(axes.end(), matrix.begin(), matrix.end());
        return Shape(axes.begin(), axes.end());
      };
      row("matmul", product, {a, b});
      row("matmul batches", product, {batches({2, 3}, a), batches({2, 3}, b)});
      row("matmul batches to one", product, {batches({2}, a), b});
      row("matmul one to batches", product, {a, batches({2}, b)});
      row("matmul both stretched", product, {batches({2, 1}, a), batches({1, 3}, b)});
      row("matmul x x", [=](Inputs x) { return matmul(x[0], x[0], ta, tb); }, {{3, 3}});
    }
  row("matmul x x^T", [](Inputs x) { return matmul(x[0], x[0], false, true); }, {{2, 3, 5}});
  row("linear", [](Inputs x) { return linear(x[0], x[1]); }, {{4, 3}, {5, 3}});
  row("linear bias", [](Inputs x) { return linear(x[0], x[1], x[2]); }, {{4, 3}, {5, 3}, {5}});
  row("linear rank 3", [](Inputs x) { return linear(x[0], x[1], x[2]); }, {{2, 4, 3}, {5, 3}, {5}});
  row("linear rank 1", [](Inputs x) { return linear(x[0], x[1], x[2]); }, {{3}, {5, 3}, {5}});
  row("linear x x^T", [](Inputs x) { return linear(x[0], x[0]); }, {{4, 3}});

  // Moving elements.
  row("reshape", [](Inputs x) { return reshape(x[0], {-1, 3}); }, {{3, 4}});
  row("reshape used twice", [](Inputs x) { return reshape(x[0], {3, 4}) * x[0]; }, {{3, 4}});
  row("permute", [](Inputs x) { return permute(x[0], {2, 0, 1}); }, {{2, 3, 5}});
  row("permute rank 4", [](Inputs x) { return permute(x[0], {0, 3, 2, 1}); }, {{2, 3, 1, 4}});
  row("transpose", [](Inputs x) { return transpose(x[0], 0, -1); }, {{2, 3, 5}});
  for (int axis : {0, 1, 2}) {
    row("slice", [=](Inputs x) { return slice(x[0], axis, 1, 3); }, {{4, 3, 5}});
    row("concat", [=](Inputs x) { return concat({x[0], x[1], x[0]}, axis); }, {{2, 3, 1}, {2, 3, 1}});
    row("stack", [=](Inputs x) { return stack({x[0], x[1], x[0]}, axis); }, {{2, 3}, {2, 3}});
  }
  row("slice nothing", [](Inputs x) { return concat({slice(x[0], 0, 2, 2), x[0]}, 0); }, {{4, 3}});
  row("concat sizes", [](Inputs x) { return concat({x[0], x[1]}, -1); }, {{2, 3, 1}, {2, 3, 4}});
  row("gather_rows", [](Inputs x) { return gather_rows(x[0], {2, 0, 2, 2}); }, {{4, 3}});
  row("gather_rows rank 3", [](Inputs x) { return gather_rows(x[0], {1, 1, 0}); }, {{2, 3, 2}});
  row("embedding", [](Inputs x) { return embedding(x[0], {3, 0, 3}); }, {{5, 3}});

  // Softmax and losses.
  row("softmax", [](Inputs x) { return softmax(x[0]); }, {{3, 5}});
  row("softmax masked",
      [](Inputs x) {
        return softmax(masked_fill(x[0], every_third({4, 3}), -INFINITY));
      },
      {{2, 4, 3}});
  row("softmax empty row",
      [](Inputs x) {
        return softmax(masked_fill(x[0], every_third({4, 1}), -INFINITY));
      },
      {{4, 3}});
  row("log_softmax", [](Inputs x) { return log_softmax(x[0]); }, {{2, 3, 5}});
  const std::vector<int32_t> targets = {1, 6, 0, 1};
  row("cross_entropy", [=](Inputs x) { return cross_entropy(x[0], targets); }, {{4, 7}});
  row("cross_entropy smooth", [=](Inputs x) { return cross_entropy(x[0], targets, {.label_smoothing = Scalar(0.1)}); },
      {{4, 7}});
  row("cross_entropy ignore",
      [=](Inputs x) { return cross_entropy(x[0], targets, {.label_smoothing = Scalar(0.1), .ignore_index = 1}); },
      {{4, 7}});
  row("cross_entropy normalizer",
      [=](Inputs x) { return cross_entropy(x[0], targets, {.ignore_index = 6, .normalizer = 2}); }, {{4, 7}});
  row("linear_cross_entropy", [=](Inputs x) { return linear_cross_entropy(x[0], x[1], targets); }, {{4, 3}, {7, 3}});
  row("linear_cross_entropy smooth",
      [=](Inputs x) {
        return linear_cross_entropy(x[0], x[1], targets, {.label_smoothing = Scalar(0.1), .ignore_index = 1});
      },
      {{4, 3}, {7, 3}});

  // Norms and positions.
  row("layer_norm", [](Inputs x) { return layer_norm(x[0], x[1], x[2]); }, {{3, 5}, {5}, {5}});
  row("layer_norm tiles", [](Inputs x) { return layer_norm(x[0], x[1], x[2]); }, {{67, 3}, {3}, {3}});
  row("rms_norm", [](Inputs x) { return rms_norm(x[0], x[1]); }, {{2, 3, 5}, {5}});
  row("rms_norm groups", [](Inputs x) { return rms_norm(x[0], x[1]); }, {{3, 12}, {4}});
  row("rms_norm tiles", [](Inputs x) { return rms_norm(x[0], x[1]); }, {{67, 6}, {2}});
  row("rms_norm x x", [](Inputs x) { return rms_norm(x[0], x[0]); }, {{5}});
  row("rope", [](Inputs x) { return rope(x[0], 2, {0, 1, 2, 0, 7}); }, {{5, 8}});
  row("rope base", [](Inputs x) { return rope(x[0], 1, {3, 3}, 100); }, {{2, 6}});

  // Attention: sentences of 1, 3 and 2 tokens; in cross attention they see 2, 5 and 1. h = 2 heads, those of q and k
  // 3 wide, those of v 2. The long rows cross the fused kernels' tiles.
  const std::vector<int64_t> self = {1, 3, 2}, other = {2, 5, 1};
  for (bool plain : {false, true})
    for (bool causal : {false, true}) {
      const std::string name = plain ? "plain_attention" : "attention";
      const std::string diff = plain ? "plain_diff_attention" : "diff_attention";
      row(name, attend(2, self, self, causal, plain), {{6, 6}, {6, 6}, {6, 4}});
      row(name, attend(2, self, other, causal, plain), {{6, 6}, {8, 6}, {8, 4}});
      for (int64_t key_heads : {4, 2})
        for (const Shape& lambda : {Shape{}, Shape{6, 2}}) {
          row(diff, attend(2, self, self, causal, plain), {{6, 12}, {6, 3 * key_heads}, {6, 4}, lambda});
          row(diff, attend(2, self, other, causal, plain), {{6, 12}, {8, 3 * key_heads}, {8, 4}, lambda});
        }
      if (plain) continue;
      row("attention long", attend(1, {70, 3}, {70, 3}, causal, plain), {{73, 2}, {73, 2}, {73, 1}});
      row("diff_attention long", attend(1, {70, 3}, {70, 3}, causal, plain), {{73, 4}, {73, 4}, {73, 1}, {73, 1}});
    }
  row("attention q q q",
      [](Inputs x) {
        return attention(x[0], x[0], x[0], {2, packed_spans({4}), packed_spans({4}), true});
      },
      {{4, 6}});
  // Each of q, k, v and lambda constant in turn: the others' gradients must not depend on its being there.
  for (size_t constant = 0; constant < 4; ++constant) {
    const std::vector<Shape> all = {{5, 8}, {6, 8}, {6, 4}, {5, 2}};
    std::vector<Shape> others = all;
    others.erase(others.begin() + static_cast<int64_t>(constant));
    row(
        "diff_attention with a constant",
        [=](Inputs x) {
          Random random(7);
          std::vector<Tensor> inputs(x.begin(), x.end());
          inputs.insert(inputs.begin() + static_cast<int64_t>(constant), randn(all[constant], random));
          return diff_attention(inputs[0], inputs[1], inputs[2], inputs[3],
                                {2, packed_spans({2, 3}), packed_spans({2, 4}), true});
        },
        others);
  }
  // A cache with room to grow: rows that belong to no sentence give zeros and get zeros.
  row("attention gaps",
      [](Inputs x) {
        return attention(x[0], x[1], x[2], {1, {{0, 2}, {3, 1}}, {{1, 3}, {5, 2}}, true});
      },
      {{5, 2}, {8, 2}, {8, 3}});
  row("split_heads", [](Inputs x) { return split_heads(x[0], {1, 3}, 2); }, {{5, 6}});
  for (bool causal : {false, true})
    row("attention_map", [=](Inputs x) { return attention_map(x[0], x[1], causal); }, {{2, 3, 2}, {2, 5, 2}});
  return rows;
}

// Inputs whose n elements have the magnitudes 0.5, 0.5 + 1/n, ..., shuffled: so none is near the kink of relu, and no
// two are near the kink of a maximum.
std::vector<Tensor> inputs_for(const Row& row) {
  std::vector<Scalar> values;
  int64_t n = 0;
  for (const Shape& shape : row.shapes) n += shape.numel();
  Random random(7);
  for (int64_t i = 0; i < n; ++i) {
    values.push_back(Scalar(0.5) + static_cast<Scalar>(i) / static_cast<Scalar>(n));
    std::swap(values[i], values[random.below(i + 1)]);
  }
  std::vector<Tensor> inputs;
  for (const Shape& shape : row.shapes) {
    Tensor& x = inputs.emplace_back(shape);
    for (int64_t i = 0; i < x.numel(); ++i) x.data()[i] = values[--n] * (row.sign == Plus || random.below(2) ? 1 : -1);
  }
  return inputs;
}
}  // namespace

TEST_CASE("gradcheck of every op") {
  // One thread: waking others for thousands of tiny results takes longer than the work, much longer on a busy machine.
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  for (const Row& row : table()) {
    // Of maximum(a, b) with one a, that may be the smallest of all.
    GradcheckResult result = gradcheck(row.f, inputs_for(row), {.allow_unused = true});
    CHECK_MESSAGE(result.ok, row.name, ": ", result.message);
  }
  omp_set_num_threads(threads);
}

TEST_CASE("every op that core/ops.h declares has a row") {
  std::set<std::string> have = {"sinusoids"};  // a constant
  for (const Row& row : table()) have.insert(row.name.substr(0, row.name.find(' ')));
  std::ifstream header("core/ops.h");
  REQUIRE_MESSAGE(header, "run the tests from the project's folder");
  int declared = 0;
  for (std::string line; std::getline(header, line);) {
    if (!line.starts_with("Tensor ")) continue;
    const std::string name = line.substr(7, line.find('(') - 7);
    CHECK_MESSAGE(have.contains(name), name, " has no row");
    ++declared;
  }
  CHECK(declared > 40);
}

namespace {
// y = x^2 with dx += `slope`(x) dy: 2 x would be right. `beta` is 1 to add to what is there, 0 to overwrite it.
template <class Slope>
Tensor square(const Tensor& x, Slope slope, int beta = 1) {
  Tensor y = (x.detach() * x.detach()).detach();
  return record("square", y, {x}, [x = x.storage(), slope, beta](const Gradients& g) {
    Scalar* dx = g.buffer(0);
    for (int64_t i = 0; i < x.size(); ++i) dx[i] = beta * dx[i] + g.out[i] * slope(x.data()[i]);
  });
}
}  // namespace

TEST_CASE("gradcheck sees a wrong gradient and says where") {
  const Tensor x = tensor({1, 2, 3, -1, -2, -3}, {2, 3});
  const auto right = [](Scalar v) { return 2 * v; };

  CHECK(gradcheck([=](Inputs x) { return square(x[0], right); }, {x}).ok);
  CHECK_FALSE(gradcheck([](Inputs x) { return square(x[0], [](Scalar v) { return v; }); }, {x}).ok);

  SUBCASE("in one element only") {
    const auto wrong_at_minus_2 = [](Scalar v) { return v == -2 ? 3 * v : 2 * v; };
    const auto result = gradcheck([=](Inputs x) { return x[0] + square(x[1], wrong_at_minus_2); }, {x, x});
    CHECK_FALSE(result.ok);
    CHECK_MESSAGE(result.message.starts_with("gradient of input 1 (2, 3) at (1, 1): analytic "), result.message);
  }
  SUBCASE("by a little") {
    const Scalar factor = sizeof(Scalar) == 8 ? Scalar(2.0001) : Scalar(2.1);
    CHECK_FALSE(gradcheck([=](Inputs x) { return square(x[0], [=](Scalar v) { return factor * v; }); }, {x}).ok);
  }
  SUBCASE("that overwrites an earlier one") {
    const auto result = gradcheck([=](Inputs x) { return square(x[0], right, 0); }, {x});
    CHECK_FALSE(result.ok);
    CHECK(result.message.ends_with("(in a second backward)"));
  }
  SUBCASE("that is NaN") {
    CHECK_FALSE(gradcheck([](Inputs x) { return square(x[0], [](Scalar) { return NAN; }); }, {x}).ok);
  }
  SUBCASE("that is missing") {
    const auto result = gradcheck([=](Inputs x) { return x[0] + square(x[1].detach(), right); }, {x, x});
    CHECK_FALSE(result.ok);
    CHECK(result.message.starts_with("gradient of input 1"));
  }
}

TEST_CASE("gradcheck leaves its inputs alone, and refuses one without influence unless asked for") {
  const Tensor x = tensor({1, 2}, {2});
  const auto f = [](Inputs x) { return x[0] * Scalar{3}; };
  CHECK(gradcheck(f, {x, x}).message == "input 1 (2,) has no influence on the result (allow_unused)");
  const GradcheckResult result = gradcheck(f, {x, x}, {.allow_unused = true});
  CHECK_MESSAGE(result.ok, result.message);
  CHECK(x.values() == std::vector<Scalar>{1, 2});
  CHECK_FALSE(x.needs_grad());
}
