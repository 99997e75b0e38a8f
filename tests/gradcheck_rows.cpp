// The rows of tests/test_gradcheck.cpp: every op that has a gradient, in every way it can be called.
#include "tests/gradcheck_rows.h"

#include <cmath>

using namespace difftensor;

namespace {
using Inputs = const std::vector<Tensor>&;

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

}  // namespace

std::vector<Row> all_rows() {
  std::vector<Row> rows;
  const auto row = [&](const std::string& name, std::function<Tensor(Inputs)> f, const std::vector<Shape>& shapes,
                       Sign sign = Any) {
    rows.push_back({name, std::move(f), shapes, sign});
  };

  // Elementwise with two operands: every way to broadcast.
  const std::vector<std::pair<const char*, Tensor (*)(const Tensor&, const Tensor&)>> binary = {
      {"add", add}, {"sub", sub}, {"mul", mul}, {"div", div}, {"maximum", maximum}, {"minimum", minimum}, {"pow", pow}};
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
  row("pow signs", [](Inputs x) { return pow(x[0] * x[0], x[1]); }, {{3, 5}, {5}});
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
  const std::vector<std::pair<const char*, Tensor (*)(const Tensor&, const Axes&, bool)>> reductions = {
      {"sum", sum}, {"mean", mean}, {"max", max}, {"min", min}, {"prod", prod}};
  for (auto [name, f] : reductions) {
    for (const auto& axes : std::vector<Axes>{{}, {0}, {1}, {-1}, {0, 2}, {1, 2}, {-1, 0, 1}})
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
  row("merge_heads", [](Inputs x) { return merge_heads(x[0]); }, {{2, 3, 4}});
  row("split_heads", [](Inputs x) { return split_heads(x[0], {1, 3}, 2); }, {{5, 6}});
  for (bool causal : {false, true})
    row("attention_map", [=](Inputs x) { return attention_map(x[0], x[1], causal); }, {{2, 3, 2}, {2, 5, 2}});

  // Pieces.
  const auto one = [&](const char* name, Tensor (*f)(const Tensor&)) {
    row(name, [=](Inputs x) { return f(x[0]); }, {{3, 5}});
  };
  one("expm1", expm1), one("sin", sin), one("cos", cos), one("abs", abs), one("sign", sign), one("floor", floor);
  one("softplus", softplus);
  row("clamp", [](Inputs x) { return clamp(x[0], Scalar(-0.8), Scalar(0.93)); }, {{3, 5}});
  row("leaky_relu", [](Inputs x) { return leaky_relu(x[0], Scalar(0.1)); }, {{3, 5}});
  row("elu", [](Inputs x) { return elu(x[0], Scalar(1.5)); }, {{3, 5}});
  for (bool keepdim : {false, true})
    for (const Axes& axes : std::vector<Axes>{{}, 0, {0, 2}}) {
      row("var", [=](Inputs x) { return var(x[0], axes, keepdim); }, {{3, 2, 5}});
      row("stddev", [=](Inputs x) { return stddev(x[0], axes, keepdim, 0); }, {{3, 2, 5}});
      row("norm", [=](Inputs x) { return norm(x[0], axes, keepdim); }, {{3, 2, 5}});
    }
  row("prod zero", [](Inputs x) { return prod(x[0] * tensor({1, 0, 1, 1, 1}, {5}) + x[1], 1); }, {{3, 5}, {3, 1}});
  for (int axis : {0, 1, -1}) {
    row("cumsum", [=](Inputs x) { return cumsum(x[0], axis); }, {{3, 2, 4}});
    row("logsumexp", [=](Inputs x) { return logsumexp(x[0], axis); }, {{3, 2, 4}});
    row("along", [=](Inputs x) { return along(x[0], axis, log_softmax); }, {{3, 2, 4}});
    row("split", [=](Inputs x) { return split(x[0], 2, axis).back(); }, {{3, 4, 3}});
    row("unbind", [=](Inputs x) { return unbind(x[0], axis).at(1); }, {{3, 2, 4}});
    row("flip", [=](Inputs x) { return flip(x[0], axis); }, {{3, 2, 4}});
    row("topk", [=](Inputs x) { return topk(x[0], 2, axis).values; }, {{3, 2, 4}});
    row("sort", [=](Inputs x) { return sort(x[0], axis).values; }, {{3, 2, 4}});
    row("index_select", [=](Inputs x) { return index_select(x[0], axis, {1, 0, 1}); }, {{3, 2, 4}});
  }
  row("matmul vector", [](Inputs x) { return matmul(x[0], x[1]); }, {{2, 3, 4}, {4}});
  row("matmul from a vector", [](Inputs x) { return matmul(x[0], x[1]); }, {{3}, {2, 3, 4}});
  row("matmul vectors", [](Inputs x) { return matmul(x[0], x[1]); }, {{4}, {4}});
  row("squeeze", [](Inputs x) { return squeeze(x[0], 1); }, {{3, 1, 4}});
  row("unsqueeze", [](Inputs x) { return unsqueeze(x[0], 0); }, {{3, 4}});
  row("expand", [](Inputs x) { return expand(x[0], {2, 3, 4}); }, {{3, 1}});
  row("tril", [](Inputs x) { return tril(x[0], 1); }, {{2, 3, 4}});
  row("triu", [](Inputs x) { return triu(x[0]); }, {{4, 4}});
  row("pad", [](Inputs x) { return pad(x[0], {1, 2, 0, 3}, 2); }, {{2, 3, 4}});
  const Index places({2, 0, 1, 1, 0, 0, 2, 1}, {2, 4});
  row("gather", [=](Inputs x) { return gather(x[0], 0, places); }, {{3, 4}});
  row("scatter_add", [=](Inputs x) { return scatter_add(x[0], 0, places, x[1]); }, {{3, 4}, {2, 4}});
  row("unfold", [](Inputs x) { return unfold(x[0], {2, 3}, {2, 1}, {1, 2}); }, {{2, 3, 5, 7}});
  row("conv2d", [](Inputs x) { return conv2d(x[0], x[1], x[2]); }, {{2, 3, 4, 5}, {4, 3, 2, 3}, {4}});
  row("conv2d groups",
      [](Inputs x) { return conv2d(x[0], x[1], {}, {.stride = 2, .padding = 1, .dilation = 2, .groups = 2}); },
      {{1, 4, 5, 5}, {4, 2, 2, 2}});
  row("conv1d", [](Inputs x) { return conv1d(x[0], x[1], x[2], {.stride = 2, .padding = 1}); },
      {{2, 3, 6}, {2, 3, 3}, {2}});
  row("max_pool2d", [](Inputs x) { return max_pool2d(x[0], 2, 1); }, {{1, 2, 3, 4}});
  row("avg_pool2d", [](Inputs x) { return avg_pool2d(x[0], 2, 1); }, {{1, 2, 3, 4}});
  row("max_pool1d", [](Inputs x) { return max_pool1d(x[0], 3, 2); }, {{2, 2, 7}});
  row("avg_pool1d", [](Inputs x) { return avg_pool1d(x[0], 3); }, {{2, 2, 7}});
  return rows;
}
