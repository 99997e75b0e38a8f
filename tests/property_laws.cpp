// What must hold of random inputs without a definition: exactly where nothing is rounded, else within a bound.
#include <doctest/doctest.h>
#include <omp.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "tests/property.h"
#include "tests/testing.h"

using namespace property;

namespace {
constexpr double unit = std::numeric_limits<Scalar>::epsilon();

bool same_bits(const Tensor& a, const Tensor& b) {
  if (a.defined() != b.defined()) return false;
  if (!a.defined()) return true;
  return a.shape() == b.shape() && (a.numel() == 0 || std::memcmp(std::as_const(a).data(), std::as_const(b).data(),
                                                                  a.numel() * sizeof(Scalar)) == 0);
}
bool same_bits(const Tensors& a, const Tensors& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Tensor& x, const Tensor& y) { return same_bits(x, y); });
}

// The result of f, and the gradient of each input, given one that is drawn from `at` for the result.
template <class F>
Tensors forward_and_backward(F f, const Tensors& inputs, int at, Scalar times = 1) {
  Tensors x;
  for (const Tensor& input : inputs) x.push_back(input.clone().requires_grad(input.needs_grad()));
  const Tensor y = f(x);
  Tensors results = {y.detach()};
  Random random(static_cast<uint64_t>(at));
  if (y.needs_grad()) y.backward(randn(y.shape(), random) * times);
  for (const Tensor& t : x) results.push_back(t.grad());
  return results;
}
Tensors parameters(const Arrays& inputs) {
  Tensors x;
  for (const Array& input : inputs) x.push_back(to_tensor(input).requires_grad());
  return x;
}

// Multiples of 1/8 up to 4: sums and products of a few are exact.
Tensor grid(Draw& d, const Shape& shape) {
  Tensor x(shape);
  for (int64_t i = 0; i < x.numel(); ++i) x.data()[i] = static_cast<Scalar>(d.between(-32, 32)) / 8;
  return x;
}
Tensor random_tensor(Draw& d, const Shape& shape) { return to_tensor(d.values(shape)); }

// f(draw, number) for each case of a law.
template <class F>
void each_case(const char* law, int usual, F f) {
  for (int i = 0; i < cases(usual); ++i) {
    Draw draw(law, i);
    INFO("DT_PROPERTY_SEED=", seed(), ", ", law, ", case ", i);
    f(draw, i);
  }
}

// |a - b| <= units in the last place of the larger tensor's largest element.
bool near(const Tensor& a, const Tensor& b, double units) {
  return largest_difference(a, b) <= units * unit * std::max({1e-30, largest(to_array(a)), largest(to_array(b))});
}

struct Threads {
  explicit Threads(int n) : before(omp_get_max_threads()) { omp_set_num_threads(n); }
  ~Threads() { omp_set_num_threads(before); }
  int before;
};
}  // namespace

TEST_CASE("property: every op gives the same bits at 1, 2 and 3 threads") {
  for (const Kind& kind : all_kinds())
    for (int i = 0; i < cases(6); ++i) {
      Draw draw(kind.name + " large", i, true);
      INFO("DT_PROPERTY_SEED=", seed(), ", ", kind.name, " large, case ", i);
      const Case c = kind.draw(draw);
      const Tensors x = parameters(c.inputs);
      Tensors results[3];
      for (int threads : {1, 2, 3}) {
        const Threads scope(threads);
        results[threads - 1] = forward_and_backward(c.op.run, x, i);
      }
      CHECK(same_bits(results[0], results[1]));
      CHECK(same_bits(results[0], results[2]));
    }
}

TEST_CASE("property: a gradient is linear, does not depend on who else needs one, and no op writes to its inputs") {
  const Threads one(1);
  for (const Kind& kind : all_kinds())
    for (int i = 0; i < cases(40); ++i) {
      Draw draw(kind.name, i);
      INFO("DT_PROPERTY_SEED=", seed(), ", ", kind.name, ", case ", i);
      const Case c = kind.draw(draw);
      const Tensors x = parameters(c.inputs);
      const Tensors all = forward_and_backward(c.op.run, x, i);
      for (size_t k = 0; k < x.size(); ++k) {
        CHECK(same_bits(x[k], to_tensor(c.inputs[k])));
        // Alone.
        for (size_t other = 0; other < x.size(); ++other) Tensor(x[other]).requires_grad(other == k);
        CHECK(same_bits(all[k + 1], forward_and_backward(c.op.run, x, i)[k + 1]));
        for (size_t other = 0; other < x.size(); ++other) Tensor(x[other]).requires_grad();
      }
      // Four times what comes in is exactly four times what goes out, of normal numbers.
      const Tensors four = forward_and_backward(c.op.run, x, i, 4);
      for (size_t k = 1; k < all.size(); ++k) {
        if (!all[k].defined()) continue;
        int64_t wrong = 0;
        for (int64_t j = 0; j < all[k].numel(); ++j) {
          const Scalar once = std::as_const(all[k]).data()[j];
          wrong += !(std::abs(once) < Scalar(1e-30)) && std::as_const(four[k]).data()[j] != 4 * once;
        }
        CHECK(wrong == 0);
      }
    }
}

TEST_CASE("property: an offset that adds without rounding changes no bit of what is shift-invariant") {
  const Threads one(1);
  each_case("offset", 300, [](Draw& d, int i) {
    const int64_t N = d.size(), V = d.size();
    const Tensor x = grid(d, {N, V}).requires_grad();
    // One number for each row.
    Tensor offset({N, 1});
    for (int64_t n = 0; n < N; ++n) offset.data()[n] = static_cast<Scalar>(d.between(-100000, 100000));
    const Scalar scale = d.number(0.1, 3);
    const std::vector<int32_t> targets = d.ids(N, V);
    const CrossEntropyOptions options{.label_smoothing = d.flip() ? Scalar(0) : d.number(0, 0.5)};
    const auto invariant = [&](auto f) {
      CHECK(same_bits(forward_and_backward([&](const Tensors& in) { return f(in[0]); }, {x}, i),
                      forward_and_backward([&](const Tensors& in) { return f(in[0] + offset); }, {x}, i)));
    };
    invariant([&](const Tensor& in) { return softmax(in, scale); });
    invariant([&](const Tensor& in) { return log_softmax(in); });
    invariant([&](const Tensor& in) { return cross_entropy(in, targets, options); });

    // Attention to keys that are all moved by the same vector: each query's scores then have an offset.
    const int64_t d_head = d.between(1, 6);
    const AttentionLayout layout{1, {{0, N}}, {{0, V}}, d.flip()};
    Tensor q = grid(d, {N, d_head}), k = grid(d, {V, d_head}), v = random_tensor(d, {V, 3});
    Tensor shift({d_head});
    for (int64_t j = 0; j < d_head; ++j) shift.data()[j] = static_cast<Scalar>(d.between(-100, 100));
    CHECK(same_bits(attention(q, k, v, layout), attention(q, k + shift, v, layout)));
    if (d_head % 2) return;
    const Tensor lambda = scalar(d.number(0, 1)), k_pair = slice(k, 1, 0, d_head / 2);
    const Tensor common_shift = slice(shift, 0, 0, d_head / 2);
    CHECK(same_bits(diff_attention(q, k, v, lambda, layout), diff_attention(q, k + shift, v, lambda, layout)));
    CHECK(same_bits(diff_attention(q, k_pair, v, lambda, layout),
                    diff_attention(q, k_pair + common_shift, v, lambda, layout)));
  });
}

TEST_CASE("property: what is moved there and back is what it was, and so is its gradient") {
  const Threads one(1);
  each_case("there and back", 400, [](Draw& d, int i) {
    const Shape shape = d.shape(1, 5, true);
    const int rank = shape.rank(), axis = static_cast<int>(d.below(rank));
    const int64_t n = shape[axis];
    const Tensor x = random_tensor(d, shape).requires_grad();
    const auto identity = [&](const char* what, auto f) {
      INFO(what, " ", shape, " axis ", axis);
      CHECK(same_bits(forward_and_backward([&](const Tensors& in) { return f(in[0]); }, {x}, i),
                      forward_and_backward(
                          [&](const Tensors& in) {
                            return reshape(in[0], {shape.begin(), shape.end()});
                          },
                          {x}, i)));
    };
    std::vector<int> order = d.order(rank), inverse(rank);
    for (int a = 0; a < rank; ++a) inverse[order[a] < 0 ? order[a] + rank : order[a]] = a;
    identity("permute", [&](const Tensor& t) { return permute(permute(t, order), inverse); });
    const int other = static_cast<int>(d.between(-rank, rank - 1));
    identity("transpose", [&](const Tensor& t) { return transpose(transpose(t, axis, other), other, axis); });
    identity("reshape", [&](const Tensor& t) {
      return reshape(reshape(t, {t.numel(), 1}), {shape.begin(), shape.end()});
    });
    const int64_t cut = d.below(n + 1);
    identity("slices", [&](const Tensor& t) { return concat({slice(t, axis, 0, cut), slice(t, axis, cut, n)}, axis); });
    identity("stack", [&](const Tensor& t) {
      const int at = static_cast<int>(d.below(rank + 1));
      return reshape(slice(stack({t, t}, at), at, 1, 2), {shape.begin(), shape.end()});
    });
    std::vector<int32_t> rows(shape[0]), back(shape[0]);
    for (size_t r = 0; r < rows.size(); ++r) {
      rows[r] = static_cast<int32_t>(r);
      std::swap(rows[r], rows[d.below(static_cast<int64_t>(r) + 1)]);
    }
    for (size_t r = 0; r < rows.size(); ++r) back[rows[r]] = static_cast<int32_t>(r);
    identity("gather_rows", [&](const Tensor& t) { return gather_rows(gather_rows(t, rows), back); });
  });
}

TEST_CASE("property: a product with a matrix stored transposed is the product") {
  const Threads one(1);
  each_case("transposed", 300, [](Draw& d, int i) {
    const int64_t M = d.size(), K = d.size(), N = d.size();
    const Tensor a = random_tensor(d, {M, K}).requires_grad(), b = random_tensor(d, {K, N}).requires_grad();
    const Tensors plain = forward_and_backward([](const Tensors& x) { return matmul(x[0], x[1]); }, {a, b}, i);
    for (bool ta : {false, true})
      for (bool tb : {false, true}) {
        const auto stored = [=](const Tensors& x) {
          return matmul(ta ? transpose(x[0], 0, 1) : x[0], tb ? transpose(x[1], 0, 1) : x[1], ta, tb);
        };
        const Tensors other = forward_and_backward(stored, {a, b}, i);
        INFO(M, " x ", K, " x ", N, ta ? " a^T" : "", tb ? " b^T" : "");
        CHECK(same_bits(plain[0], other[0]));
        CHECK(near(plain[1], other[1], 0.5 * static_cast<double>(N) + 1));
        CHECK(near(plain[2], other[2], 0.5 * static_cast<double>(M) + 1));
      }
    // (a b)^T = b^T a^T, and a weight of a linear layer is stored transposed.
    CHECK(same_bits(plain[0], transpose(matmul(b, a, true, true), 0, 1)));
    CHECK(same_bits(plain[0], linear(a, transpose(b, 0, 1))));
  });
}

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
    same(diff ? "diff_attention" : "attention", attention_op(diff, layout, false).run,
         attention_op(diff, layout, true).run, {{N, h * maps * width}, {M, h * maps * width}, {M, h * 3}, {N, h}},
         5000);
  });
}

TEST_CASE("property: parts make the whole") {
  const Threads one(1);
  each_case("parts", 300, [](Draw& d, int) {
    const Shape shape = d.shape(1, 4);
    const int axis = static_cast<int>(d.below(shape.rank()));
    const int64_t n = shape[axis], cut = d.below(n + 1);
    const Tensor x = random_tensor(d, shape), first = slice(x, axis, 0, cut), second = slice(x, axis, cut, n);
    // Each sum is right to half a unit of itself, and 2^-53 for each of its elements.
    const double magnitudes = static_cast<double>(sum(maximum(x, -x)).item());
    const double bound = 2 * unit * magnitudes + static_cast<double>(x.numel()) * std::exp2(-52) * magnitudes;
    const double whole = static_cast<double>(sum(x).item());
    CHECK(std::abs(whole - static_cast<double>((sum(first) + sum(second)).item())) <= bound);
    CHECK(std::abs(whole - static_cast<double>(sum(sum(x, {axis})).item())) <=
          bound * static_cast<double>(x.numel() / n));
    if (cut == 0 || cut == n) return;
    CHECK(same_bits(max(x), maximum(max(first), max(second))));
    CHECK(same_bits(max(x, {axis}), maximum(max(first, {axis}), max(second, {axis}))));
    CHECK(same_bits(max(max(x, {axis})), max(x)));
  });
}

TEST_CASE("property: dropout keeps the mean, in and out of the gradient") {
  const Threads one(1);
  each_case("dropout", 200, [](Draw& d, int i) {
    const Scalar p = d.number(0, 0.9);
    const int64_t n = 2000;
    manual_seed(static_cast<uint64_t>(i), 3);
    const Tensor x = ones({n}).requires_grad(), y = dropout(x, p);
    y.backward(ones({n}));
    CHECK(same_bits(y.detach(), x.grad()));
    // The mean of n such numbers has the variance p / (1 - p) / n. Six of its roots: once in 5e8 cases.
    const double q = static_cast<double>(p), deviation = std::sqrt(q / (1 - q) / static_cast<double>(n));
    CHECK(std::abs(static_cast<double>(mean(y).item()) - 1) <= 6 * deviation + 1e-5);
  });
}
