#include "core/kernels/gemm.h"

#include <cblas.h>

#include <cstring>
#include <type_traits>
#include <utility>

#include "core/kernels/parallel.h"
#include "core/kernels/simd.h"
#include "core/storage.h"

namespace difftensor::inline DT_PRECISION::kernels {

// --- Products of a layer's shape ------------------------------------------------------------------------------------
// OpenBLAS copies both operands into an order of its own before it multiplies. For large matrices that is nothing; but
// in x W^T with x (512, 128) and W (128, 128) it is a fifth of the time, and in an attention head over a sentence of
// 14 words most of it. Here x is read where it lies, and only a panel of B, two SIMD registers wide, is copied: small
// enough for the first-level cache, and used for all rows of A.
namespace {

constexpr int64_t tile_rows = simd_bytes == 64 ? 8 : 6, panel = 2 * lanes, depth = 256;

// C (R, W lanes) = A B or C + A B, with A(i, k) at A[i row + k column] and B a panel, W registers wide. The R x W
// results stay in registers: each step of k loads W registers of B and multiplies them by R numbers of A. Every element
// is summed in the order of k, whatever R and W: its bits do not depend on how C is cut into tiles.
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
      const Scalar a = A[r * row + k * column];
#pragma GCC unroll 2
      for (int w = 0; w < W; ++w) sum[r][w] += a * *reinterpret_cast<const Unaligned*>(B + k * ldb + w * lanes);
    }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int w = 0; w < W; ++w) {
      auto* to = reinterpret_cast<Unaligned*>(C + r * ldc + w * lanes);
      *to = add ? *to + sum[r][w] : sum[r][w];
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

// to(k, j) = from(j, k), for a block of lanes x lanes of which the first `present` rows are there; the others count as
// zeros.
void transpose_block(const Scalar* from, int64_t ld, int64_t present, Simd* to, int64_t stride) {
  Simd rows[lanes];
#pragma GCC unroll 16
  for (int64_t i = 0; i < lanes; ++i)
    rows[i] = i < present ? *reinterpret_cast<const Unaligned*>(from + i * ld) : Simd{};
  transpose(rows);
#pragma GCC unroll 16
  for (int64_t i = 0; i < lanes; ++i) to[i * stride] = rows[i];
}

// The first `columns` columns of op(B), K rows of them, in order of k: W registers for each k, zeros where columns end.
template <int W>
void pack(bool transpose_b, const Scalar* B, int64_t ldb, int64_t K, int64_t columns, Simd* to) {
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
struct Left {
  const Scalar* data;
  int64_t tile, row, column;
  bool fetch;
};

// C (M, columns) = A B or C + A B for one panel of B, W registers wide: wider than C where C ends.
template <int W>
void multiply_panel(int64_t M, int64_t columns, int64_t K, Left A, const Scalar* B, int64_t ldb, bool add, Scalar* C,
                    int64_t ldc) {
  constexpr int64_t width = W * lanes;
  for (int64_t i = 0; i < M; i += tile_rows, A.data += A.tile) {
    const int64_t rows = std::min(tile_rows, M - i);
    // What the next tile needs of C, and of A if it is new, is fetched while this one is computed: the processor's own
    // guesses fail on eight short rows at once.
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t w = 0; w < W; ++w) __builtin_prefetch(C + (i + tile_rows + r) * ldc + w * lanes, 1, 2);
      for (int64_t k = 0; A.fetch && k < K; k += lanes) __builtin_prefetch(A.data + A.tile + r * A.row + k);
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
        c = (add ? c : 0) + edge[r * width + j];
      }
  }
}
constexpr auto* multiply_narrow = multiply_panel<1>;
constexpr auto* multiply_wide = multiply_panel<2>;

// C = op(A) op(B) + (add ? C : 0)
void panel_gemm(bool transpose_a, bool transpose_b, int64_t M, int64_t N, int64_t K, const Scalar* A, int64_t lda,
                const Scalar* B, int64_t ldb, bool add, Scalar* C, int64_t ldc) {
  // A^T is copied too, some tiles at a time, if it serves several panels: as it lies, each number of a column of A is
  // in another line of the cache. (The odd distance keeps tiles out of each other's cache sets.)
  constexpr int64_t height = 32 * tile_rows, apart = tile_rows * (depth + 2);
  const bool copy_a = transpose_a && N > panel && M >= 64 && K >= 64;
  thread_local Storage copy;
  if (copy_a && !copy) copy = Storage(height / tile_rows * apart);
  alignas(simd_bytes) thread_local Simd packed[2 * depth];

  for (int64_t k = 0; k < K; k += depth)
    for (int64_t i = 0; i < M; i += height) {
      const int64_t steps = std::min(depth, K - k), rows = std::min(height, M - i);
      const Scalar* from = A + (transpose_a ? k * lda + i : i * lda + k);
      Left left{from, transpose_a ? tile_rows : tile_rows * lda, transpose_a ? 1 : lda, transpose_a ? lda : 1, false};
      if (copy_a) {
        left = {copy.data(), apart, 1, tile_rows, false};
        for (int64_t step = 0; step < steps; ++step) {
          const Scalar* row = from + step * lda;
          Scalar* to = copy.data() + step * tile_rows;
          for (int64_t r = 0; r < rows; r += tile_rows, to += apart)
            if (rows - r >= tile_rows)
              std::memcpy(to, row + r, tile_rows * sizeof(Scalar));
            else
              std::copy(row + r, row + rows, to);
        }
      }
      for (int64_t j = 0; j < N; j += panel) {
        const int64_t columns = std::min(panel, N - j);
        const bool wide = columns > lanes;
        const Scalar* b = B + (transpose_b ? j * ldb + k : k * ldb + j);
        int64_t width = ldb;
        if (transpose_b || columns % lanes || rows > 4 * tile_rows) {  // else too few rows to pay for a copy
          (wide ? pack<2> : pack<1>)(transpose_b, b, ldb, steps, columns, packed);
          b = reinterpret_cast<const Scalar*>(packed), width = wide ? panel : lanes;
        }
        left.fetch = !transpose_a && j == 0;
        (wide ? multiply_wide : multiply_narrow)(rows, columns, steps, left, b, width, add || k > 0, C + i * ldc + j,
                                                 ldc);
      }
    }
}

// Do panels beat OpenBLAS? Measured (build/bench/ops gemm): where a layer's products lie, and below.
bool is_layer_shaped(int64_t N, int64_t K) { return K <= depth || N <= 512; }

}  // namespace

void gemm(bool transpose_a, bool transpose_b, int64_t M, int64_t N, int64_t K, const Scalar* A, int64_t lda,
          const Scalar* B, int64_t ldb, Scalar beta, Scalar* C, int64_t ldc) {
  if (M == 0 || N == 0) return;
  if (is_layer_shaped(N, K) && K > 0)
    return panel_gemm(transpose_a, transpose_b, M, N, K, A, lda, B, ldb, beta == 1, C, ldc);
  static const bool one_thread = (openblas_set_num_threads(1), true);
  (void)one_thread;
  const auto ta = transpose_a ? CblasTrans : CblasNoTrans, tb = transpose_b ? CblasTrans : CblasNoTrans;
#ifdef DT_DOUBLE
  cblas_dgemm(CblasRowMajor, ta, tb, M, N, K, 1, A, lda, B, ldb, beta, C, ldc);
#else
  cblas_sgemm(CblasRowMajor, ta, tb, M, N, K, 1, A, lda, B, ldb, beta, C, ldc);
#endif
}

void PackedMatrix::pack(bool transpose, int64_t K, int64_t N, const Scalar* B, int64_t ldb) {
  rows_ = K, columns_ = N;
  const int64_t panels = (N + panel - 1) / panel;
  if (copy_.size() < panels * panel * K) copy_ = Storage(panels * panel * K);
  for (int64_t j = 0; j < N; j += panel)
    kernels::pack<2>(transpose, B + (transpose ? j * ldb : j), ldb, K, std::min(panel, N - j),
                     reinterpret_cast<Simd*>(copy_.data() + j * K));
}

void PackedMatrix::multiply(int64_t M, int64_t K, int64_t N, const Scalar* A, int64_t lda, bool add, Scalar* C,
                            int64_t ldc) const {
  require(K <= rows_ && N <= whole_registers(columns_), "PackedMatrix", "more than was packed");
  for (int64_t i = 0; K == 0 && !add && i < M; ++i) std::fill_n(C + i * ldc, N, Scalar{0});
  parallel_for((N + panel - 1) / panel, 1, [=, this](int64_t begin, int64_t end) {
    for (int64_t k = 0; k < K; k += depth)
      for (int64_t j = begin * panel; j < std::min(N, end * panel); j += panel) {
        const Left left{A + k, tile_rows * lda, lda, 1, j == 0};
        const int64_t columns = std::min(panel, N - j);
        (columns > lanes ? multiply_wide : multiply_narrow)(M, columns, std::min(depth, K - k), left,
                                                            copy_.data() + j * rows_ + k * panel, panel, add || k > 0,
                                                            C + j, ldc);
      }
  });
}

void parallel_gemm(bool transpose_a, bool transpose_b, int64_t M, int64_t N, int64_t K, const Scalar* A,
                   const Scalar* B, Scalar beta, Scalar* C) {
  const int64_t lda = transpose_a ? M : K, ldb = transpose_b ? K : N;
  // A thread by itself need not cut C up, if that cannot be seen in the result: panels are copied less often.
  if (is_layer_shaped(N, K) && (omp_in_parallel() || omp_get_max_threads() == 1))
    return gemm(transpose_a, transpose_b, M, N, K, A, lda, B, ldb, beta, C, N);
  // Four tiles along the longer side of C, or more: small enough for a core's second-level cache.
  auto tile = [](int64_t n) { return std::clamp<int64_t>((n + 3) / 4, 64, 256); };
  if (M >= N) {
    parallel_for(M, tile(M), [=](int64_t begin, int64_t end) {
      gemm(transpose_a, transpose_b, end - begin, N, K, A + (transpose_a ? begin : begin * K), lda, B, ldb, beta,
           C + begin * N, N);
    });
  } else {
    parallel_for(N, tile(N), [=](int64_t begin, int64_t end) {
      gemm(transpose_a, transpose_b, M, end - begin, K, A, lda, B + (transpose_b ? begin * K : begin), ldb, beta,
           C + begin, N);
    });
  }
}

namespace {
thread_local PackedWeights* packed_weights = nullptr;
}
PackedWeights::Scope::Scope(PackedWeights& weights) : previous_(std::exchange(packed_weights, &weights)) {}
PackedWeights::Scope::~Scope() { packed_weights = previous_; }

const PackedMatrix& PackedWeights::packed(bool transpose, int64_t K, int64_t N, const Storage& W) {
  Copy* copy;
  {
    const std::lock_guard lock(mutex_);
    copy = &copies_[{W.data(), transpose}];
  }
  std::call_once(copy->packed, [&] {
    copy->original = W;
    copy->matrix.pack(transpose, K, N, W.data(), transpose ? K : N);
  });
  return copy->matrix;
}

void weight_gemm(bool transpose, int64_t M, int64_t N, int64_t K, const Scalar* A, const Storage& W, bool parameter,
                 Scalar beta, Scalar* C) {
  if (parameter && packed_weights)
    packed_weights->packed(transpose, K, N, W).multiply(M, K, N, A, K, beta == 1, C, N);
  else
    parallel_gemm(false, transpose, M, N, K, A, W.data(), beta, C);
}

void add_column_sums(const Scalar* x, int64_t rows, int64_t width, Scalar* into) {
  parallel_for(width, 64, [=](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < rows; ++i)
#pragma omp simd
      for (int64_t j = begin; j < end; ++j) into[j] += x[i * width + j];
  });
}

}  // namespace difftensor::inline DT_PRECISION::kernels
