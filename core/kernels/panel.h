#pragma once
// The inside of our matrix product: a tile of C, computed in registers, and a panel of B, brought into the order of the
// computation. gemm.cpp draws how they fit together. Only gemm.cpp and packed_weights.cpp include this.
#include <algorithm>
#include <cstring>
#include <utility>

#include "core/kernels/simd.h"

namespace difftensor::inline DT_PRECISION::kernels {

/// A tile of C has so many rows, and is as wide as a panel: two SIMD registers. A multiply-add takes 4 cycles and two
/// start in each, so 8 registers of sums or more keep a core busy: with AVX-512 there are 16, with AVX2 12 of the 16
/// registers it has.
constexpr int64_t tile_rows = simd_bytes == 64 ? 8 : 6, panel = 2 * lanes;
/// So many steps of K at a time: a panel of B, k_block x panel numbers, is then 32 KiB with AVX-512, else 16.
constexpr int64_t k_block = 256;
/// Numbers in a line of the cache: what one fetch brings.
constexpr int64_t line = 64 / sizeof(Scalar);

// C (R, W lanes) = A B or C + A B, with A(i, k) at A[i row + k column] and B a panel, W registers wide. The R x W
// results stay in registers: each step of k loads W registers of B and multiplies them by R numbers of A. Every element
// is summed in the order of k with fused multiply-adds, whatever R and W: its bits do not depend on how C is cut.
template <int R, int W>
void multiply_tile(int64_t K, const Scalar* A, int64_t row, int64_t column, const Scalar* B, int64_t ldb, bool add,
                   Scalar* C, int64_t ldc) {
  Simd sum[R][W];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int w = 0; w < W; ++w) sum[r][w] = Simd{};
  for (int64_t k = 0; k < K; ++k)
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const Simd a = broadcast(A[r * row + k * column]);
#pragma GCC unroll 2
      for (int w = 0; w < W; ++w) sum[r][w] = multiply_add(a, load(B + k * ldb + w * lanes), sum[r][w]);
    }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int w = 0; w < W; ++w) {
      Scalar* to = C + r * ldc + w * lanes;
      store(add ? load(to) + sum[r][w] : sum[r][w], to);
    }
}

// The same for a number of rows known only now.
template <int W, int R = tile_rows>
void multiply_rows(int64_t rows, int64_t K, const Scalar* A, int64_t row, int64_t column, const Scalar* B, int64_t ldb,
                   bool add, Scalar* C, int64_t ldc) {
  if constexpr (R > 1)
    if (rows < R) return multiply_rows<W, R - 1>(rows, K, A, row, column, B, ldb, add, C, ldc);
  multiply_tile<R, W>(K, A, row, column, B, ldb, add, C, ldc);
}

// In step s of a transposition, neighbours s apart swap their off-diagonal halves.
template <int s, int... j>
void swap_halves(Simd& a, Simd& b, std::integer_sequence<int, j...>) {
  const Simd upper = shuffle<(j & s ? j - s + int{lanes} : j)...>(a, b);
  b = shuffle<(j & s ? j + int{lanes} : j + s)...>(a, b);
  a = upper;
}
template <int s = 1>
void transpose(Simd* rows) {
  if constexpr (s < lanes) {
#pragma GCC unroll 16
    for (int i = 0; i < lanes; ++i)
      if (!(i & s)) swap_halves<s>(rows[i], rows[i + s], std::make_integer_sequence<int, lanes>());
    transpose<2 * s>(rows);
  }
}

// to(k, j) = from(j, k), for a block of lanes x lanes of which the first `present` rows are there; the others count as
// zeros.
inline void transpose_block(const Scalar* from, int64_t ld, int64_t present, Simd* to, int64_t stride) {
  Simd rows[lanes];
#pragma GCC unroll 16
  for (int64_t i = 0; i < lanes; ++i)
    rows[i] = i < present ? load(from + i * ld) : Simd{};
  transpose(rows);
#pragma GCC unroll 16
  for (int64_t i = 0; i < lanes; ++i) to[i * stride] = rows[i];
}

// The panel copy: the first `columns` columns of op(B), K rows of them, in order of k. W registers for each k, with
// zeros where columns end.
template <int W>
void copy_panel(bool transpose_b, const Scalar* B, int64_t ldb, int64_t K, int64_t columns, Simd* to) {
  auto* elements = reinterpret_cast<Scalar*>(to);
  constexpr int64_t width = W * lanes;
  if (!transpose_b && columns == width) {
    for (int64_t k = 0; k < K; ++k) std::memcpy(to + W * k, B + k * ldb, width * sizeof(Scalar));
    return;
  }
  int64_t k = 0;
  for (; transpose_b && k + lanes <= K; k += lanes)
    for (int64_t w = 0; w < W; ++w)
      transpose_block(B + w * lanes * ldb + k, ldb, columns - w * lanes, to + W * k + w, W);
  for (; k < K; ++k)
    for (int64_t j = 0; j < width; ++j)
      elements[k * width + j] = j < columns ? B[transpose_b ? j * ldb + k : k * ldb + j] : 0;
}

// op(A), tile by tile: element (i, k) is at data[(i / tile_rows) tile + (i % tile_rows) row + k column]. `fetch`: it
// comes from far away.
struct TilesOfA {
  const Scalar* data;
  int64_t tile, row, column;
  bool fetch;
};

// C (M, columns) = A B or C + A B for one panel of B, W registers wide: wider than C where C ends.
template <int W>
void multiply_panel(int64_t M, int64_t columns, int64_t K, TilesOfA A, const Scalar* B, int64_t ldb, bool add,
                    Scalar* C, int64_t ldc) {
  constexpr int64_t width = W * lanes;
  for (int64_t i = 0; i < M; i += tile_rows, A.data += A.tile) {
    const int64_t rows = std::min(tile_rows, M - i);
    // What the next tile needs of C, and of A if it is new, is fetched while this one is computed: the processor's own
    // guesses fail on eight short rows at once.
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t j = 0; j < width; j += line) __builtin_prefetch(C + (i + tile_rows + r) * ldc + j, 1, 2);
      for (int64_t k = 0; A.fetch && k < K; k += line) __builtin_prefetch(A.data + A.tile + r * A.row + k);
    }
    if (columns == width) {
      multiply_rows<W>(rows, K, A.data, A.row, A.column, B, ldb, add, C + i * ldc, ldc);
      continue;
    }
    alignas(simd_bytes) Scalar edge[tile_rows * width];
    multiply_rows<W>(rows, K, A.data, A.row, A.column, B, ldb, false, edge, width);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t j = 0; j < columns; ++j) {
        Scalar& c = C[(i + r) * ldc + j];
        c = add ? c + edge[r * width + j] : edge[r * width + j];
      }
  }
}

}  // namespace difftensor::inline DT_PRECISION::kernels
