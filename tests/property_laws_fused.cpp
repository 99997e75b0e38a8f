// What is fused or packed is what it is made of.
#include <doctest/doctest.h>

#include "tests/property_laws.h"

using namespace property;

TEST_CASE("property: a packed sentence's attention is that of the sentence alone") {
  const Threads one(1);
  each_case("packed", 150, [](Draw& d, int) {
    const int64_t sentences = d.between(1, 5), h = d.between(1, 3), width = d.between(1, 9), e = d.between(1, 9);
    std::vector<int64_t> queries, keys;
    for (int64_t s = 0; s < sentences; ++s) queries.push_back(d.size()), keys.push_back(d.size());
    const bool diff = d.flip(), common = d.flip(), causal = d.flip();
    const AttentionLayout layout{static_cast<int>(h), packed_spans(queries), packed_spans(keys), causal};
    const int64_t N = layout.queries.back().begin + queries.back(), M = layout.keys.back().begin + keys.back();
    const int64_t maps = diff ? 2 : 1;
    const std::vector<Shape> shapes = {
        {N, h * maps * width}, {M, h * (common ? 1 : maps) * width}, {M, h * e}, {N, h}, {N, h * e}};
    Tensors x;
    for (const Shape& shape : shapes) x.push_back(random_tensor(d, shape).requires_grad());
    const Tensor out_gradient = x[4].detach();
    const auto attend = [&](const Tensors& in, const AttentionLayout& to) {
      return diff ? diff_attention(in[0], in[1], in[2], in[3], to) : attention(in[0], in[1], in[2], to);
    };
    const Tensor all = attend(x, layout);
    all.backward(out_gradient);
    for (int64_t s = 0; s < sentences; ++s) {
      const auto part = [&](const Tensor& t, bool of_keys) {
        const Span span = of_keys ? layout.keys[s] : layout.queries[s];
        return slice(t.detach(), 0, span.begin, span.begin + span.length);
      };
      Tensors alone;
      for (size_t k = 0; k < 4; ++k) alone.push_back(part(x[k], k == 1 || k == 2).requires_grad());
      const Tensor y = attend(alone, {static_cast<int>(h), {{0, queries[s]}}, {{0, keys[s]}}, causal});
      y.backward(part(out_gradient, false));
      INFO("sentence ", s, " of ", sentences, ", ", queries[s], " x ", keys[s], ", gradient of input ");
      CHECK(same_bits(part(all, false), y.detach()));
      for (size_t k = 0; k < (diff ? 4 : 3); ++k) {
        INFO(k);
        CHECK(same_bits(part(x[k].grad(), k == 1 || k == 2), alone[k].grad()));
      }
    }
  });
}

TEST_CASE("property: what is fused is what it is made of") {
  const Threads one(1);
  each_case("fused", 150, [](Draw& d, int i) {
    const int64_t N = d.size(), M = d.size(), D = d.size(), V = d.size();
    const auto same = [&](const char* what, auto fused, auto plain, const std::vector<Shape>& shapes, double units) {
      Tensors x;
      for (const Shape& shape : shapes) x.push_back(random_tensor(d, shape).requires_grad());
      const Tensors a = forward_and_backward(fused, x, i), b = forward_and_backward(plain, x, i);
      for (size_t k = 0; k < a.size(); ++k) {
        // Gradients that cancel are right to the units of what comes in.
        const double scale = std::max({1.0, largest(to_array(a[k])), k ? largest(to_array(x[k - 1])) : 0});
        INFO(what, k ? ", gradient of input " : ", result ", k ? k - 1 : 0, " ", x[0].shape());
        CHECK(largest_difference(a[k], b[k]) <= units * unit * scale);
      }
    };
    same(
        "linear", [](const Tensors& x) { return linear(x[0], x[1], x[2]); },
        [](const Tensors& x) { return matmul(x[0], x[1], false, true) + x[2]; }, {{N, D}, {V, D}, {V}}, 200);
    same(
        "swiglu", [](const Tensors& x) { return swiglu(x[0], x[1]); },
        [](const Tensors& x) { return silu(x[0]) * x[1]; }, {{N, D}, {N, D}}, 40);
    same(
        "silu", [](const Tensors& x) { return silu(x[0]); }, [](const Tensors& x) { return x[0] * sigmoid(x[0]); },
        {{N, D}}, 40);
    same(
        "sigmoid", [](const Tensors& x) { return sigmoid(x[0]); },
        [](const Tensors& x) { return (tanh(x[0] / 2) + 1) / 2; }, {{N, D}}, 40);
    same(
        "log_softmax", [](const Tensors& x) { return exp(log_softmax(x[0])); },
        [](const Tensors& x) { return softmax(x[0]); }, {{N, V}}, 100);
    same(
        "mean", [](const Tensors& x) { return mean(x[0], {0}); },
        [=](const Tensors& x) { return sum(x[0], {0}) / static_cast<Scalar>(N); }, {{N, D}}, 4);
    const std::vector<int32_t> targets = d.ids(N, V);
    double nll[2];
    CrossEntropyOptions options[2];
    for (int f : {0, 1}) options[f] = {.label_smoothing = Scalar(0.1), .normalizer = 2 * N, .nll = &nll[f]};
    same(
        "cross entropy", [&](const Tensors& x) { return linear_cross_entropy(x[0], x[1], targets, options[0]); },
        [&](const Tensors& x) { return cross_entropy(linear(x[0], x[1]), targets, options[1]); }, {{N, D}, {V, D}},
        2000);
    CHECK(std::abs(nll[0] - nll[1]) <= 2000 * unit * std::max(1.0, nll[0]));

    const int h = 2;
    const bool diff = d.flip(), causal = d.flip();
    const AttentionLayout layout{h, {{0, N}}, {{0, M}}, causal};
    const int64_t width = d.between(1, 8), maps = diff ? 2 : 1;
    std::vector<Shape> shapes = {{N, h * maps * width}, {M, h * maps * width}, {M, h * 3}};
    if (diff) shapes.push_back({N, h});
    same(diff ? "diff_attention" : "attention", attention_op(diff, layout, false).run,
         attention_op(diff, layout, true).run, shapes, 5000);
  });
}
