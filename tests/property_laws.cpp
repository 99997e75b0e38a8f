// What must hold of random inputs without a definition: exactly where nothing is rounded, else within a bound.
#include "tests/property_laws.h"

#include <doctest/doctest.h>

using namespace property;

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
