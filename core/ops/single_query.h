#pragma once
// Attention of one query, as decoding has it in each step. Keys and values are read where they lie: bringing them into
// the order of a product, as core/ops/attention.cpp does for many queries, would take longer than using them once.
#include "core/kernels/simd.h"
#include "core/ops/attention_shapes.h"

namespace difftensor::inline DT_PRECISION {

/// The features of one head in the rows of k or v, for the keys of one sentence, counted from 0.
struct KeyFeatures {
  const Scalar* first;    ///< of row 0 of the tensor
  int64_t width;          ///< from one row to the next
  int64_t begin;          ///< of the sentence's Span
  const int32_t* listed;  ///< AttentionLayout::key_rows; null if there is no list
  const Scalar* operator[](int64_t key) const { return first + (listed ? listed[begin + key] : begin + key) * width; }
};

/// z_j = q . k_j for the S keys, d features each; -inf from there to whole_registers(S).
inline void single_scores(const Scalar* q, const KeyFeatures& k, int64_t S, int64_t d, Scalar* z) {
  using kernels::lanes, kernels::load, kernels::multiply_add, kernels::Simd;
  const int64_t whole = d / lanes * lanes;
  for (int64_t j = 0; j < S; j += lanes) {  // as many keys at a time as there are lanes: a register has their scores
    const Simd products = kernels::sums_of_lanes([&](int64_t i) {
      const Scalar* key = k[std::min(j + i, S - 1)];
      Simd sum{};
      for (int64_t c = 0; c < whole; c += lanes) sum = multiply_add(load(q + c), load(key + c), sum);
      return sum;
    });
    kernels::store(products, z + j);
  }
  for (int64_t j = 0; whole < d && j < S; ++j)
    for (int64_t c = whole; c < d; ++c) z[j] = multiply_add(q[c], k[j][c], z[j]);
  std::fill(z + S, z + kernels::whole_registers(S), -std::numeric_limits<Scalar>::infinity());
}

/// out = sum_j a_j v_j, registers W of it: their sums stay in registers.
template <int W>
void weighted_sum(const Scalar* a, const KeyFeatures& v, int64_t S, int64_t column, Scalar* out) {
  kernels::Simd sum[W] = {};
  for (int64_t j = 0; j < S; ++j) {
    const kernels::Simd weight = kernels::broadcast(a[j]);
    const Scalar* value = v[j] + column;
#pragma GCC unroll 4
    for (int w = 0; w < W; ++w)
      sum[w] = kernels::multiply_add(weight, kernels::load(value + w * kernels::lanes), sum[w]);
  }
#pragma GCC unroll 4
  for (int w = 0; w < W; ++w) kernels::store(sum[w], out + column + w * kernels::lanes);
}

/// out = sum_j a_j v_j over the S keys: e features.
inline void single_output(const Scalar* a, const KeyFeatures& v, int64_t S, int64_t e, Scalar* out) {
  using kernels::lanes;
  int64_t c = 0;
  for (; c + 4 * lanes <= e; c += 4 * lanes) weighted_sum<4>(a, v, S, c, out);
  for (; c + 2 * lanes <= e; c += 2 * lanes) weighted_sum<2>(a, v, S, c, out);
  for (; c + lanes <= e; c += lanes) weighted_sum<1>(a, v, S, c, out);
  for (; c < e; ++c) {
    Scalar sum = 0;
    for (int64_t j = 0; j < S; ++j) sum = kernels::multiply_add(a[j], v[j][c], sum);
    out[c] = sum;
  }
}

}  // namespace difftensor::inline DT_PRECISION
