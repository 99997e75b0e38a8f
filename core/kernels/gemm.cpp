#include "core/kernels/gemm.h"

#include <cblas.h>

#include "core/kernels/parallel.h"

namespace difftensor::inline DT_PRECISION::kernels {

void gemm(bool transpose_a, bool transpose_b, int64_t M, int64_t N, int64_t K, Scalar alpha, const Scalar* A,
          int64_t lda, const Scalar* B, int64_t ldb, Scalar beta, Scalar* C, int64_t ldc) {
  static const bool one_thread = (openblas_set_num_threads(1), true);
  (void)one_thread;
  if (M == 0 || N == 0) return;
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
  if (M >= N) {  // tiles of rows of C, and of op(A): a tile and its result stay in a core's second-level cache
    const int64_t tile = M >= 1024 ? 256 : 64;
    parallel_for(M, tile, [=](int64_t begin, int64_t end) {
      gemm(transpose_a, transpose_b, end - begin, N, K, 1, A + (transpose_a ? begin : begin * K), lda, B, ldb, beta,
           C + begin * N, N);
    });
  } else {
    const int64_t tile = N >= 1024 ? 256 : 64;
    parallel_for(N, tile, [=](int64_t begin, int64_t end) {
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
