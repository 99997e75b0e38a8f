// A product of a layer's shape, such as x W^T with x (512, 128) and W (128, 128).
//
// OpenBLAS copies both operands into an order of its own before it multiplies. For large matrices that is nothing; but
// for this one it is a fifth of the time, and in an attention head over a sentence of 14 words most of it. Here A is
// read where it lies, and only one panel of B at a time is copied. (A weight's gradient dy^T x, long and narrow, copies
// all panels of x at once, and of a wide dy a strip at a time.)
//
//                                 B (K, N)
//                                +-----+-----+--
//                                |panel|     |      k_block steps of K; a panel is two SIMD registers wide.
//                     k_block    | of B|     |      Its copy (32 KiB) is read again for every tile of A:
//                                |     |     |      L1 cache, or what is next to it
//                                +-----+-----+--
//                                |     |     |      the next block of K: adds to the same C
//              k_block
//            +---------+---      +-----+-----+--
//  tile_rows | tile    |         |tile |     |      A tile of C stays in registers while k runs over the block:
//            | of A    |         | of C|     |      tile_rows x 2 registers of sums.
//            +---------+---      +-----+-----+--
//            | next    |         |     |     |
//   A (M, K) | tile    |         |     |  C (M, N)  The strip of A, all its tiles of k_block columns, is read
//            +---------+---      +-----+-----+--    once for each panel: L2 cache
//
// The loops, from outside in, and where what they walk over lies:
//   for k: blocks of K           C      written once per block              memory, L2
//    for i: strips of A          A      height x k_block                    L2
//     for j: panels of B         B      k_block x panel, the panel copy     L1 (L2)
//      for i: tiles (multiply_panel)
//       for k: steps (multiply_tile)    tile_rows x panel sums              registers
#include "core/kernels/gemm.h"

#include <cblas.h>

#include <algorithm>
#include <limits>

#include "core/kernels/panel.h"
#include "core/kernels/parallel.h"
#include "core/storage.h"

namespace difftensor::inline DT_PRECISION::kernels {
namespace {

constexpr int64_t height = 32 * tile_rows;  // of a strip of A

// A strip of A^T is copied, tile by tile, if it serves several panels and its rows have 256 numbers or more. A tile needs
// a few numbers of each row. Rows of 1 KiB have their lines in a sixteenth of the first-level cache, which are gone again
// before the next tile, which needs the rest of them; and rows of 4 KiB or more are each in a page of their own. (Shorter
// ones come from the second-level cache, which keeps up.)
// (The odd distance between tiles keeps them out of each other's cache sets.)
constexpr int64_t tile_distance = tile_rows * (k_block + 2);
void copy_transposed(const Scalar* A, int64_t lda, int64_t rows, int64_t steps, Scalar* copy) {
  constexpr int64_t whole = whole_registers(tile_rows);  // what is more than a tile's rows, the next step overwrites
  for (int64_t k = 0; k < steps; ++k) {
    const Scalar* row = A + k * lda;
    Scalar* to = copy + k * tile_rows;
    for (int64_t r = 0; r < rows; r += tile_rows, to += tile_distance)
      if (rows - r >= whole)
        for (int64_t w = 0; w < whole; w += lanes) store(load(row + r + w), to + w);
      else
        std::copy(row + r, std::min(row + r + tile_rows, row + rows), to);
  }
}

// All panels of B, (steps, columns), one after the other. B is read row by row, as it lies in memory, so that the
// processor's guess at what comes next is right.
void copy_panels(const Scalar* B, int64_t ldb, int64_t steps, int64_t columns, Scalar* copy) {
  for (int64_t k = 0; k < steps; ++k)
    for (int64_t j = 0; j < columns; j += panel) {
      Scalar* to = copy + j * steps + k * panel;
      if (columns - j >= panel)
        for (int64_t w = 0; w < panel; w += lanes) store(load(B + k * ldb + j + w), to + w);
      else
        std::fill(std::copy(B + k * ldb + j, B + k * ldb + columns, to), to + panel, Scalar{0});
    }
}

// C = op(A) op(B) + (add ? C : 0)
void panel_gemm(bool transpose_a, bool transpose_b, int64_t M, int64_t N, int64_t K, const Scalar* A, int64_t lda,
                const Scalar* B, int64_t ldb, bool add, Scalar* C, int64_t ldc) {
  const bool weight_gradient = transpose_a && N > panel && M >= 64 && K >= 64;  // dy^T x, as a layer has it
  const bool copy_a = weight_gradient && lda >= 256;
  const bool copy_b = weight_gradient && !transpose_b && N <= 1024;  // all strips read the same panels
  thread_local Storage strip_copy, panels_copy;
  if (copy_a && !strip_copy) strip_copy = Storage(height / tile_rows * tile_distance);
  if (copy_b && panels_copy.size() < (N + panel) * k_block) panels_copy = Storage((N + panel) * k_block);
  alignas(simd_bytes) thread_local Simd panel_copy[2 * k_block];

  for (int64_t k = 0; k < K; k += k_block) {
    const int64_t steps = std::min(k_block, K - k);
    if (copy_b) copy_panels(B + k * ldb, ldb, steps, N, panels_copy.data());
    for (int64_t i = 0; i < M; i += height) {
      const int64_t rows = std::min(height, M - i);
      const Scalar* strip = A + (transpose_a ? k * lda + i : i * lda + k);
      TilesOfA tiles{strip, transpose_a ? tile_rows : tile_rows * lda, transpose_a ? 1 : lda, transpose_a ? lda : 1,
                     false};
      if (copy_a) {
        copy_transposed(strip, lda, rows, steps, strip_copy.data());
        tiles = {strip_copy.data(), tile_distance, 1, tile_rows, false};
      }
      for (int64_t j = 0; j < N; j += panel) {
        const int64_t columns = std::min(panel, N - j);
        const bool wide = columns > lanes;  // else one register is enough
        const Scalar* b = B + (transpose_b ? j * ldb + k : k * ldb + j);
        int64_t b_width = ldb;
        if (copy_b) {
          b = panels_copy.data() + j * steps, b_width = panel;
        } else if (transpose_b || columns % lanes || rows > 4 * tile_rows) {  // else too few rows to pay for a copy
          (wide ? copy_panel<2> : copy_panel<1>)(transpose_b, b, ldb, steps, columns, panel_copy);
          b = reinterpret_cast<const Scalar*>(panel_copy), b_width = wide ? panel : lanes;
        }
        tiles.fetch = !transpose_a && j == 0;
        (wide ? multiply_panel<2> : multiply_panel<1>)(rows, columns, steps, tiles, b, b_width, add || k > 0,
                                                       C + i * ldc + j, ldc);
      }
    }
  }
}

}  // namespace

bool is_layer_shaped(int64_t N, int64_t K) { return K <= k_block || N <= 512; }

void gemm(bool transpose_a, bool transpose_b, int64_t M, int64_t N, int64_t K, const Scalar* A, int64_t lda,
          const Scalar* B, int64_t ldb, bool add, Scalar* C, int64_t ldc) {
  if (M == 0 || N == 0) return;
  if (is_layer_shaped(N, K) && K > 0) return panel_gemm(transpose_a, transpose_b, M, N, K, A, lda, B, ldb, add, C, ldc);
  require(std::max({M, N, K, lda, ldb, ldc}) <= std::numeric_limits<blasint>::max(), "gemm", "(", M, ", ", K, ") x (",
          K, ", ", N, "): OpenBLAS counts to ", std::numeric_limits<blasint>::max());
  // BLAS computes alpha op(A) op(B) + beta C: alpha = 1, and beta is 1 to add, 0 to overwrite.
  static const bool one_thread = (openblas_set_num_threads(1), true);
  (void)one_thread;
  const auto ta = transpose_a ? CblasTrans : CblasNoTrans, tb = transpose_b ? CblasTrans : CblasNoTrans;
  const auto blas = [](int64_t n) { return static_cast<blasint>(n); };
#ifdef DT_DOUBLE
  const auto multiply = cblas_dgemm;
#else
  const auto multiply = cblas_sgemm;
#endif
  multiply(CblasRowMajor, ta, tb, blas(M), blas(N), blas(K), 1, A, blas(lda), B, blas(ldb), add, C, blas(ldc));
}

void parallel_gemm(bool transpose_a, bool transpose_b, int64_t M, int64_t N, int64_t K, const Scalar* A,
                   const Scalar* B, bool add, Scalar* C) {
  const int64_t lda = transpose_a ? M : K, ldb = transpose_b ? K : N;
  // A thread by itself need not cut C up, if that cannot be seen in the result: panels are copied less often.
  if (is_layer_shaped(N, K) && (omp_in_parallel() || omp_get_max_threads() == 1))
    return gemm(transpose_a, transpose_b, M, N, K, A, lda, B, ldb, add, C, N);
  // Four tiles along the longer side of C, or more: small enough for a core's second-level cache.
  auto tile = [](int64_t n) { return std::clamp<int64_t>((n + 3) / 4, 64, 256); };
  if (M >= N) {
    parallel_for(M, tile(M), [=](int64_t begin, int64_t end) {
      gemm(transpose_a, transpose_b, end - begin, N, K, A + (transpose_a ? begin : begin * K), lda, B, ldb, add,
           C + begin * N, N);
    });
  } else {
    parallel_for(N, tile(N), [=](int64_t begin, int64_t end) {
      gemm(transpose_a, transpose_b, M, end - begin, K, A, lda, B + (transpose_b ? begin * K : begin), ldb, add,
           C + begin, N);
    });
  }
}

void add_column_sums(const Scalar* x, int64_t rows, int64_t width, Scalar* into) {
  constexpr int64_t grain = 64;
  parallel_for(width, grain, [=](int64_t begin, int64_t end) {
    double sums[grain] = {};  // a float sum of ones stops growing at 2^24
    for (int64_t i = 0; i < rows; ++i)
#pragma omp simd
      for (int64_t j = begin; j < end; ++j) sums[j - begin] += static_cast<double>(x[i * width + j]);
    for (int64_t j = begin; j < end; ++j) into[j] += static_cast<Scalar>(sums[j - begin]);
  });
}

}  // namespace difftensor::inline DT_PRECISION::kernels
