// Tensors as values: shapes, printing, memory, random numbers, and what ops refuse.

#include <cmath>
#include <cstdint>
#include <limits>
#include <new>
#include <sstream>

#include "core/ops.h"
#include "tests/testing.h"

using namespace difftensor;

namespace {
template <class T>
std::string text(const T& value) {
  std::ostringstream out;
  out << value;
  return out.str();
}
}  // namespace

TEST_CASE("one axis can be named without braces, and no axis is all of them") {
  const Tensor x = tensor({1, 2, 3, 4, 5, 7}, {2, 3});
  CHECK(sum(x, 0).values() == sum(x, {0}).values());
  CHECK(mean(x, -1, true).shape() == Shape{2, 1});
  CHECK(max(x, 1).values() == std::vector<Scalar>{3, 7});
  CHECK(sum(x, {}, true).values() == std::vector<Scalar>{22});
}

TEST_CASE("shapes and elements") {
  Tensor t = tensor({1, 2, 3, 4, 5, 6}, {2, 3});
  CHECK(t.rank() == 2);
  CHECK(t.numel() == 6);
  CHECK(t.dim(-1) == 3);
  CHECK(text(t.shape()) == "(2, 3)");
  CHECK(text(Shape{4}) == "(4,)");
  CHECK(text(Shape{}) == "()");
  CHECK(scalar(7).item() == 7);
  CHECK(zeros({0, 3}).numel() == 0);
  CHECK(reinterpret_cast<uintptr_t>(t.data()) % 64 == 0);
}

TEST_CASE("arange goes up to its end, or down to it, in numbers as they are rounded") {
  CHECK(arange(0, Scalar(0.3), Scalar(0.1)).values() == std::vector<Scalar>{0, Scalar(0.1), Scalar(0.2)});
  CHECK(arange(3).values() == std::vector<Scalar>{0, 1, 2});
  CHECK(arange(2, 0, Scalar(-0.75)).values() == std::vector<Scalar>{2, 1.25, 0.5});
  for (const Scalar step : {Scalar(1), Scalar(-1)}) CHECK(arange(2, 2 - step, step).numel() == 0);
  for (int n = 1; n < 60; ++n)
    for (int d = 1; d < 60; ++d)
      for (const int sign : {1, -1}) {
        CAPTURE(n * sign);
        CAPTURE(d);
        const Scalar step = Scalar(sign) / Scalar(d), end = Scalar(sign * n) / Scalar(d);
        const Tensor t = arange(0, end, step);
        const auto element = [&](int64_t i) { return static_cast<Scalar>(static_cast<double>(i) * double(step)); };
        REQUIRE(t.numel() > 0);
        CHECK(std::abs(t.data()[t.numel() - 1]) < std::abs(end));  // none at the end,
        CHECK(std::abs(element(t.numel())) >= std::abs(end));      // and none is missing
        CHECK(t.data()[t.numel() - 1] == element(t.numel() - 1));
      }
  if (sizeof(Scalar) == 4)  // beyond 2^24 floats are 8 apart here: all below 1e8 + 4, and that itself, round to 1e8
    CHECK(arange(Scalar(1e8), Scalar(1e8 + 8), Scalar(0.5)).values() == std::vector<Scalar>(9, Scalar(1e8)));
  CHECK_THROWS_AS(arange(0, Scalar(1e38), Scalar(1e-30)), std::bad_alloc);
}

TEST_CASE("a tensor prints itself") {
  CHECK(text(tensor({1, 2, 3, 4}, {2, 2})) == "[[       1        2]\n [       3        4]] shape (2, 2)");
  CHECK(text(zeros({100})).size() < 100);  // long axes are elided
  CHECK(text(Tensor()) == "undefined tensor");
}

TEST_CASE("errors name the op, the shapes and the rule") {
  Tensor a = zeros({2, 3}), b = zeros({4, 5});
  CHECK(error_of([&] { a + b; }) == "add: shapes (2, 3) and (4, 5) do not broadcast: sizes 2 and 4 at axis 0");
  CHECK(error_of([&] { matmul(a, b); }) == "matmul: (2, 3) x (4, 5): inner sizes 3 and 4 differ");
  CHECK(error_of([] {
          matmul(zeros({2, 3, 4}), zeros({5, 4, 2}));
        }) == "matmul: shapes (2, 3, 4) and (5, 4, 2) do not broadcast: sizes 2 and 5 at axis 0");
  CHECK(error_of([&] { matmul(a, zeros({2})); }) == "matmul: (2, 3) x (2, 1): inner sizes 3 and 2 differ");
  CHECK(error_of([&] { linear(a, b); }) == "linear: (2, 3) x (4, 5)^T: the last size of x must be the weight's second");
  CHECK(error_of([&] { where(b, a, a); }) ==
        "where: shapes (2, 3) and (2, 3) and (4, 5) do not broadcast: sizes 2 and 4 at axis 0");
  CHECK(error_of([&] { Tensor({2, 3}, b.storage()); }) == "Tensor: 20 values for shape (2, 3)");
  CHECK(error_of([&] { sinusoids({0, -1}, 8); }) == "sinusoids: negative position -1");
  const AttentionLayout uneven{1, {{0, 1}, {1, 1}}, {{0, 2}}, false}, gap{1, {{1, 1}}, {{0, 2}}, false};
  const AttentionLayout half{1, {{0, 1}}, {{0, 2}}, false};
  const Tensor q = ones({2, 4}), wide = ones({2, 8});
  CHECK(error_of([&] { plain_attention(q, q, q, uneven); }) == "plain_attention: 2 query spans for 1 key spans");
  CHECK(error_of([&] { plain_attention(q, q, q, gap); }) ==
        "plain_attention: query spans must follow one another, without a gap");
  CHECK(error_of([&] { plain_diff_attention(wide, wide, q, scalar(1), half); }) ==
        "plain_diff_attention: the query spans hold 1 of 2 rows");
  CHECK(error_of([&] { reshape(a, {4, 2}); }) == "reshape: (2, 3) to (4, 2): numbers of elements differ");
  CHECK(error_of([&] { reshape(a, {4, -1}); }) == "reshape: (2, 3) has no whole number of blocks of 4");
  CHECK(error_of([&] { slice(a, 1, 2, 4); }) == "slice: 2 to 4 of axis 1 in shape (2, 3)");
  CHECK(error_of([&] { sum(a, {2}); }) == "sum: no axis 2 in shape (2, 3)");
  CHECK(error_of([&] { permute(a, {0, 0}); }) == "permute: axis 0 is named twice");
  CHECK(error_of([&] { concat({a, b}, 0); }) == "concat: shapes (2, 3) and (4, 5) differ outside axis 0");
  CHECK(error_of([&] { embedding(a, {2, 0}); }) == "embedding: id 2 of token 0 is outside the vocabulary of 2");
  CHECK(error_of([&] { embedding(a, {0, 2}); }) == "embedding: id 2 of token 1 is outside the vocabulary of 2");
  CHECK(error_of([&] { cross_entropy(a, {0, 3}); }) == "cross_entropy: target 3 (number 1) of 3 classes");
  CHECK(error_of([&] { dropout(a, 1); }) == "dropout: probability 1 is not in [0, 1)");
  CHECK(error_of([&] { rope(a, 1, {0, 1}); }) == "rope: 1 heads of an even width do not make up (2, 3)");
  CHECK(error_of([&] { tensor({1, 2}, {3}); }) == "tensor: 2 values for shape (3,)");
  CHECK(error_of([&] { a.item(); }) == "item: shape (2, 3) is not one element");
  CHECK(error_of([&] {
          attention(zeros({2, 4}), zeros({3, 4}), zeros({3, 4}), {3, {{0, 2}}, {{0, 3}}, false});
        }) == "attention: q (2, 4) and v (3, 4) do not split into 3 heads");
  CHECK(error_of([&] {
          attention(zeros({2, 4}), zeros({3, 4}), zeros({3, 4}), {2, {{0, 2}}, {{1, 3}}, false});
        }) == "attention: key span of 3 rows at 1 leaves the 3 rows there are");
  const int64_t huge = std::numeric_limits<int64_t>::max();
  CHECK(error_of([&] {
          attention(zeros({2, 4}), zeros({3, 4}), zeros({3, 4}), {2, {{0, 2}}, {{1, huge}}, false});
        }) == "attention: key span of 9223372036854775807 rows at 1 leaves the 3 rows there are");
  CHECK(error_of([&] {
          attention(zeros({2, 4}), zeros({3, 4}), zeros({3, 4}), {2, {{0, 2}, {1, 1}}, {{0, 3}, {0, 3}}, false});
        }) == "attention: query spans overlap: a row of the result would have two values");
}

TEST_CASE("a shape has no axes but its own") {
  const Shape shape{2, 3}, none;
  CHECK(shape.back() == 3);
  CHECK(error_of([&] { (void)shape[-1]; }) == "Shape: there is no axis -1 among 2");
  CHECK(error_of([&] { (void)shape[2]; }) == "Shape: there is no axis 2 among 2");
  CHECK(error_of([&] { (void)none.back(); }) == "Shape: there is no axis -1 among 0");
}

TEST_CASE("an empty handle says that it is empty") {
  const Tensor none;
  const std::string empty = "Tensor: this handle is empty: nothing was put there or, in grad(), no gradient has come";
  CHECK(error_of([&] { none.shape(); }) == empty);
  CHECK(error_of([&] { none.rank(); }) == empty);
  CHECK(error_of([&] { none.numel(); }) == empty);
  CHECK(error_of([&] { none.data(); }) == empty);
  CHECK(error_of([&] { none.item(); }) == empty);
  CHECK(error_of([&] { none.detach(); }) == empty);
  CHECK(error_of([&] { none.clone(); }) == empty);
  CHECK(error_of([&] { none.grad(); }) == empty);
  CHECK(error_of([&] { none.backward(); }) == empty);
  CHECK(error_of([&] { Tensor().requires_grad(); }) == empty);
  CHECK(error_of([&] { none + ones({2}); }) == empty);
  CHECK(error_of([&] { matmul(ones({2, 2}), none); }) == empty);
  CHECK(error_of([&] { concat({ones({2}), none}, 0); }) == empty);
  CHECK(!none.needs_grad());
}

TEST_CASE("sizes beyond all memory are refused, not wrapped") {
  const int64_t big = int64_t{1} << 31;
  CHECK(error_of([&] { zeros({big, big, 4}); }) == "Shape: (2147483648, 2147483648, 4) has too many elements");
  CHECK_THROWS_AS(zeros({big, big}), std::bad_alloc);                             // 2^62 elements: 0 bytes mod 2^64
  CHECK_THROWS_AS(zeros({std::numeric_limits<int64_t>::max()}), std::bad_alloc);  // the header on top would wrap
  CHECK_THROWS_AS(Storage(-1), std::bad_alloc);
}

TEST_CASE("long sums and means are right in float too") {
  const int64_t n = 20'000'000;  // a float that counts by ones stops at 2^24 = 16,777,216
  NoGrad no_grad;
  const Tensor ones_ = ones({n, 1});
  CHECK(sum(ones_).item() == n);
  CHECK(mean(ones_).item() == 1);
  CHECK(sum(ones_, {0}).item() == n);
  CHECK(sum(reshape(ones_, {2, n / 2}), {1}).values() == std::vector<Scalar>(2, n / 2));
  CHECK(sum(reshape(ones_, {n / 2, 2}), {0}).values() == std::vector<Scalar>(2, n / 2));
}

TEST_CASE("freed memory is used again") {
  release_cached_memory();
  const AllocatorStats before = allocator_stats();
#ifdef __SANITIZE_ADDRESS__
  constexpr bool cached = false;  // a block once freed must stay untouchable
#else
  constexpr bool cached = true;
#endif
  const Scalar* first = nullptr;
  for (int i = 0; i < 3; ++i) {
    Tensor t({1000, 7});
    if (i > 0) CHECK((t.data() == first || !cached));
    first = t.data();
    CHECK(allocator_stats().blocks_in_use == before.blocks_in_use + 1);
  }
  CHECK(allocator_stats().blocks_in_use == before.blocks_in_use);
  release_cached_memory();
  CHECK(allocator_stats().bytes_cached == 0);
}

TEST_CASE("random bits are SplitMix64's, in any order") {
  // The reference implementation with seed 1234567 (Vigna, splitmix64.c) begins so.
  const std::vector<uint64_t> known{6457827717110365317u, 3203168211198807973u, 9817491932198370423u,
                                    4593380528125082431u, 16408922859458223821u};
  Random random(1234567);
  for (size_t i = 0; i < known.size(); ++i) CHECK(random.bits_at(i) == known[i]);
  for (uint64_t bits : known) CHECK(random.bits() == bits);
  CHECK(Random(1, 1).bits() != Random(1, 2).bits());
  CHECK(Random(1, 1).bits() != Random(2, 1).bits());
}

TEST_CASE("random numbers have the moments of their distribution") {
  Random random(3);
  const int n = 100000;
  double mean = 0, square = 0, low = 1, high = 0;
  for (int i = 0; i < n; ++i) {
    double x = random.normal(), u = random.uniform();
    mean += x / n;
    square += x * x / n;
    low = std::min(low, u);
    high = std::max(high, u);
  }
  CHECK(std::abs(mean) < 0.015);
  CHECK(std::abs(square - 1) < 0.02);
  CHECK(low >= 0);
  CHECK(low < 1e-4);
  CHECK(high < 1);
  CHECK(high > 0.9999);
  int counts[3] = {};
  for (int i = 0; i < 3000; ++i) ++counts[random.below(3)];
  for (int count : counts) CHECK(std::abs(count - 1000) < 120);
}

TEST_CASE("dropout keeps the mean, repeats under one seed, and differs between streams") {
  Tensor x = ones({100, 100});
  auto dropped = [&](uint64_t seed, uint64_t stream) {
    manual_seed(seed, stream);
    return dropout(x, Scalar(0.3)).values();
  };
  const auto once = dropped(1, 1);
  CHECK(once == dropped(1, 1));
  CHECK(once != dropped(1, 2));
  CHECK(std::count(once.begin(), once.end(), 0) == doctest::Approx(3000).epsilon(0.1));
  CHECK(mean(tensor(once, {10000})).item() == doctest::Approx(1).epsilon(0.03));
}
