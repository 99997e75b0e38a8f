#include "core/kernels/gemm.h"

#include <cblas.h>

#include <cstring>
#include <type_traits>
#include <utility>

#include "core/kernels/parallel.h"
#include "core/storage.h"

namespace difftensor::inline DT_PRECISION::kernels {

// --- Products of a layer's shape ------------------------------------------------------------------------------------
// OpenBLAS copies both operands into an order of its own before it multiplies. For large matrices that is nothing; but
// in x W^T with x (512, 128) and W (128, 128) it is a fifth of the time. Here x is read where it lies, and only a panel
// of B, two SIMD registers wide, is copied: small enough for the first-level cache, and used for all rows of A.
namespace {

#ifdef __AVX512F__
constexpr int64_t simd_bytes = 64, tile_rows = 8;
#else
constexpr int64_t simd_bytes = 32, tile_rows = 6;
#endif
constexpr int64_t lanes = simd_bytes / sizeof(Scalar), panel = 2 * lanes, depth = 256;
using Simd = Scalar __attribute__((vector_size(simd_bytes)));
using Unaligned = Scalar __attribute__((vector_size(simd_bytes), aligned(sizeof(Scalar)), may_alias));

// C (R, panel) = A B or C + A B, with A(i, k) at A[i row + k column] and B a packed panel. The R x 2 results stay in
// registers: each step of k loads two registers of B and multiplies them by R numbers of A.
template <int R>
void multiply_tile(int64_t K, const Scalar* A, int64_t row, int64_t column, const Simd* B, bool add, Scalar* C,
                   int64_t ldc) {
  Simd left[R], right[R];
  for (int r = 0; r < R; ++r) left[r] = right[r] = Simd{};
  for (int64_t k = 0; k < K; ++k)
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const Scalar a = A[r * row + k * column];
      left[r] += a * B[2 * k];
      right[r] += a * B[2 * k + 1];
    }
  for (int r = 0; r < R; ++r) {
    auto* to = reinterpret_cast<Unaligned*>(C + r * ldc);
    to[0] = add ? to[0] + left[r] : left[r];
    to[1] = add ? to[1] + right[r] : right[r];
  }
}

// The same for a number of rows known only now.
template <int R = tile_rows>
void multiply_rows(int64_t rows, int64_t K, const Scalar* A, int64_t row, int64_t column, const Simd* B, bool add,
                   Scalar* C, int64_t ldc) {
  if constexpr (R > 1)
    if (rows < R) return multiply_rows<R - 1>(rows, K, A, row, column, B, add, C, ldc);
  multiply_tile<R>(K, A, row, column, B, add, C, ldc);
}

// Element j of the shuffled pair (a, b): in step s of a transposition, neighbours s apart swap their off-diagonal
// halves.
using Index = std::conditional_t<sizeof(Scalar) == 4, int32_t, int64_t>;
using Mask = Index __attribute__((vector_size(simd_bytes)));
template <Index s, Index... j>
void swap_halves(Simd& a, Simd& b, std::integer_sequence<Index, j...>) {
  const Simd upper = __builtin_shuffle(a, b, Mask{(j & s ? j - s + Index{lanes} : j)...});
  b = __builtin_shuffle(a, b, Mask{(j & s ? j + Index{lanes} : j + s)...});
  a = upper;
}
template <Index s = 1>
void transpose(Simd* rows) {
  if constexpr (s < lanes) {
#pragma GCC unroll 16
    for (Index i = 0; i < lanes; ++i)
      if (!(i & s)) swap_halves<s>(rows[i], rows[i + s], std::make_integer_sequence<Index, lanes>());
    transpose<2 * s>(rows);
  }
}

// to(k, j) = from(j, k), for a block of lanes x lanes.
void transpose_block(const Scalar* from, int64_t ld, Simd* to, int64_t stride) {
  Simd rows[lanes];
#pragma GCC unroll 16
  for (int64_t i = 0; i < lanes; ++i) rows[i] = *reinterpret_cast<const Unaligned*>(from + i * ld);
  transpose(rows);
#pragma GCC unroll 16
  for (int64_t i = 0; i < lanes; ++i) to[i * stride] = rows[i];
}

// Columns j ... j + panel of op(B), rows k0 ... k0 + K, in order of k.
void pack(bool transpose_b, const Scalar* B, int64_t ldb, int64_t k0, int64_t K, int64_t j, Simd* to) {
  if (!transpose_b) {
    for (int64_t k = 0; k < K; ++k) std::memcpy(to + 2 * k, B + (k0 + k) * ldb + j, panel * sizeof(Scalar));
    return;
  }
  int64_t k = 0;
  for (; k + lanes <= K; k += lanes)
    for (int64_t half : {0, 1}) transpose_block(B + (j + half * lanes) * ldb + k0 + k, ldb, to + 2 * k + half, 2);
  for (; k < K; ++k)
    for (int64_t i = 0; i < panel; ++i) reinterpret_cast<Scalar*>(to + 2 * k)[i] = B[(j + i) * ldb + k0 + k];
}

// C = op(A) op(B) + (add ? C : 0), N a whole number of panels.
void panel_gemm(bool transpose_a, bool transpose_b, int64_t M, int64_t N, int64_t K, const Scalar* A, int64_t lda,
                const Scalar* B, int64_t ldb, bool add, Scalar* C, int64_t ldc) {
  alignas(simd_bytes) thread_local Simd packed[2 * depth];
  const int64_t row = transpose_a ? 1 : lda, column = transpose_a ? lda : 1;
  for (int64_t k = 0; k < K; k += depth)
    for (int64_t j = 0; j < N; j += panel) {
      pack(transpose_b, B, ldb, k, std::min(depth, K - k), j, packed);
      for (int64_t i = 0; i < M; i += tile_rows)
        multiply_rows(std::min(tile_rows, M - i), std::min(depth, K - k), A + i * row + k * column, row, column, packed,
                      add || k > 0, C + i * ldc + j, ldc);
    }
}

}  // namespace

void gemm(bool transpose_a, bool transpose_b, int64_t M, int64_t N, int64_t K, Scalar alpha, const Scalar* A,
          int64_t lda, const Scalar* B, int64_t ldb, Scalar beta, Scalar* C, int64_t ldc) {
  if (M == 0 || N == 0) return;
  // Measured (build/bench/ops gemm): panels win where a layer's products lie, OpenBLAS for small and for large ones.
  const bool skinny = N % panel == 0 && M >= 32 && K >= 16 && (K <= depth || N <= 512) && (!transpose_a || lda <= 1024);
  if (skinny && alpha == 1 && (beta == 0 || beta == 1))
    return panel_gemm(transpose_a, transpose_b, M, N, K, A, lda, B, ldb, beta == 1, C, ldc);
  static const bool one_thread = (openblas_set_num_threads(1), true);
  (void)one_thread;
  const auto ta = transpose_a ? CblasTrans : CblasNoTrans, tb = transpose_b ? CblasTrans : CblasNoTrans;
#ifdef DT_DOUBLE
  cblas_dgemm(CblasRowMajor, ta, tb, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc);
#else
  cblas_sgemm(CblasRowMajor, ta, tb, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc);
#endif
}

void parallel_gemm(bool transpose_a, bool transpose_b, int64_t M, int64_t N, int64_t K, const Scalar* A,
                   const Scalar* B, Scalar beta, Scalar* C) {
  const int64_t lda = transpose_a ? M : K, ldb = transpose_b ? K : N;
  // Four tiles along the longer side of C, or more: small enough for a core's second-level cache.
  auto tile = [](int64_t n) { return std::clamp<int64_t>((n + 3) / 4, 64, 256); };
  if (M >= N) {
    parallel_for(M, tile(M), [=](int64_t begin, int64_t end) {
      gemm(transpose_a, transpose_b, end - begin, N, K, 1, A + (transpose_a ? begin : begin * K), lda, B, ldb, beta,
           C + begin * N, N);
    });
  } else {
    parallel_for(N, tile(N), [=](int64_t begin, int64_t end) {
      gemm(transpose_a, transpose_b, M, end - begin, K, 1, A, lda, B + (transpose_b ? begin * K : begin), ldb, beta,
           C + begin, N);
    });
  }
}

void add_column_sums(const Scalar* x, int64_t rows, int64_t width, Scalar* into) {
  parallel_for(width, 64, [=](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < rows; ++i)
#pragma omp simd
      for (int64_t j = begin; j < end; ++j) into[j] += x[i * width + j];
  });
}

}  // namespace difftensor::inline DT_PRECISION::kernels
