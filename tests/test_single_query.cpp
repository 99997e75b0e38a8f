// Attention of one query, as decoding asks it, and the lanes of registers that it adds.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/kernels/simd.h"
#include "core/ops.h"
#include "tests/testing.h"

using namespace difftensor;

TEST_CASE("one query's attention equals matmul and softmax, wherever its keys lie") {
  const NoGrad no_grad;
  const double tolerance = sizeof(Scalar) == 4 ? 2e-5 : 1e-12;
  for (const int64_t d : {1, 6, 16, 37, 64})
    for (const int64_t e : {1, 5, 32, 119})
      for (int kind = 0; kind < 3; ++kind) {  // softmax; diff; diff-v2 (shared keys, lambda rows)
        CAPTURE(d);
        CAPTURE(e);
        CAPTURE(kind);
        Random random(static_cast<uint64_t>(100 * d + e));
        const int h = 2;
        const std::vector<int64_t> lengths{0, 1, 2, 7, 8, 9, 15, 16, 17, 33, 70};
        const auto B = static_cast<int64_t>(lengths.size());
        const AttentionLayout packed{h, packed_spans(std::vector<int64_t>(B, 1)), packed_spans(lengths), true};
        const int64_t S = packed.keys.back().begin + packed.keys.back().length;
        const Tensor q = randn({B, h * d * (kind ? 2 : 1)}, random);
        const Tensor k = randn({S, h * d * (kind == 1 ? 2 : 1)}, random), v = randn({S, h * e}, random);
        const Tensor lambda = kind == 2 ? rand({B, h}, random) : scalar(Scalar(0.4));
        const auto attend = [&](bool plain, const Tensor& k, const Tensor& v, const AttentionLayout& layout) {
          return kind == 0 ? (plain ? plain_attention : attention)(q, k, v, layout)
                           : (plain ? plain_diff_attention : diff_attention)(q, k, v, lambda, layout);
        };
        const Tensor expected = attend(true, k, v, packed), fused = attend(false, k, v, packed);
        double worst = 0;
        for (int64_t i = 0; i < expected.numel(); ++i)
          worst = worse(worst, std::abs(fused.data()[i] - expected.data()[i]));
        CHECK(worst <= tolerance);
        // The same keys in another order of rows, found by a list: the same bits.
        AttentionLayout listed = packed;
        std::vector<int32_t> from(S);
        for (int64_t i = 0; i < S; ++i) {
          listed.key_rows.push_back(static_cast<int32_t>((i * 55 + 5) % S));  // 55 and S = 178 have no common divisor
          from[listed.key_rows.back()] = static_cast<int32_t>(i);
        }
        CHECK(attend(false, gather_rows(k, from), gather_rows(v, from), listed).values() == fused.values());
      }
}

TEST_CASE("a list of keys must fit, and is for one query each without a gradient") {
  const Tensor q = ones({2, 4}), k = ones({3, 4});
  AttentionLayout layout{1, {{0, 1}, {1, 1}}, {{0, 2}, {1, 2}}, true, {2, 0, 1}};
  CHECK_THROWS_WITH(attention(q, k, k, layout),
                    "attention: keys are listed for sentences of one query each, in a NoGrad scope");
  const NoGrad no_grad;
  CHECK(attention(q, k, k, layout).values() == std::vector<Scalar>(8, 1));
  CHECK_THROWS_WITH(
      plain_attention(q, k, k, layout),
      "plain_attention: takes no list of keys, as decoding with a cache makes it: gather_rows() them first");
  layout.key_rows = {2, 0, 3};
  CHECK_THROWS_WITH(attention(q, k, k, layout), "attention: a list of keys leaves the 3 rows there are");
  layout.key_rows = {2, 0};
  CHECK_THROWS_WITH(attention(q, k, k, layout), "attention: key span of 2 rows at 1 leaves the 2 rows there are");
  layout = {1, {{0, 2}}, {{0, 2}}, true, {0, 1}};
  CHECK_THROWS_WITH(attention(q, k, k, layout),
                    "attention: keys are listed for sentences of one query each, in a NoGrad scope");
}

TEST_CASE("lanes of registers are added, and compared, whatever their number") {
  using kernels::lanes;
  Scalar values[lanes * lanes];
  for (int64_t i = 0; i < lanes * lanes; ++i) values[i] = static_cast<Scalar>((i * 37 + 11) % 101);  // exact sums
  const kernels::Simd sums = kernels::sums_of_lanes([&](int64_t j) { return kernels::load(values + j * lanes); });
  for (int64_t j = 0; j < lanes; ++j) {
    const Scalar *row = values + j * lanes, *end = row + lanes;
    CHECK(sums[j] == std::accumulate(row, end, Scalar{0}));
    CHECK(kernels::sum_of_lanes(kernels::load(row)) == sums[j]);
    CHECK(kernels::max_of_lanes(kernels::load(row)) == *std::max_element(row, end));
  }
}
