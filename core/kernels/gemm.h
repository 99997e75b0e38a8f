#pragma once
// Matrix products: OpenBLAS on one thread, a kernel of our own for the shapes that layers have, and our parallelism
// around both.
#include "core/base.h"

namespace difftensor::inline DT_PRECISION::kernels {

/// Do panels beat OpenBLAS? Measured (build/bench/ops gemm): if K <= 256 or N <= 512, as a layer has them. Elsewhere the
/// bits of a row of gemm() may depend on how many rows there are.
bool is_layer_shaped(int64_t N, int64_t K);

/// C = op(A) op(B), or C + op(A) op(B) if `add`, on the calling thread; op(X) = X or X^T. C is (M, N), op(A) (M, K),
/// op(B) (K, N), all row-major. ld* ("leading dimension") is the distance between two rows as stored.
void gemm(bool transpose_a, bool transpose_b, int64_t M, int64_t N, int64_t K, const Scalar* A, int64_t lda,
          const Scalar* B, int64_t ldb, bool add, Scalar* C, int64_t ldc);

/// The same for dense matrices, in parallel over fixed tiles of C. (OpenBLAS's own threads would cut
/// long sums differently for different numbers of threads, and the results would differ in their last bits.)
void parallel_gemm(bool transpose_a, bool transpose_b, int64_t M, int64_t N, int64_t K, const Scalar* A,
                   const Scalar* B, bool add, Scalar* C);

/// into[j] += sum over rows i of x[i][j], for x (rows, width): in parallel over columns.
void add_column_sums(const Scalar* x, int64_t rows, int64_t width, Scalar* into);

}  // namespace difftensor::inline DT_PRECISION::kernels
