#pragma once
// Matrix products: OpenBLAS on one thread, a kernel of our own for the shapes that layers have, and our parallelism
// around both.
#include <map>
#include <mutex>

#include "core/storage.h"

namespace difftensor::inline DT_PRECISION::kernels {

/// C = op(A) op(B) + beta C on the calling thread; op(X) = X or X^T, beta 0 or 1. C is (M, N), op(A) (M, K), op(B) (K,
/// N), all row-major; ld* is the distance between two rows as stored. beta = 0 overwrites C, whatever was in it.
void gemm(bool transpose_a, bool transpose_b, int64_t M, int64_t N, int64_t K, const Scalar* A, int64_t lda,
          const Scalar* B, int64_t ldb, Scalar beta, Scalar* C, int64_t ldc);

/// The same for dense matrices, in parallel over fixed tiles of C. (OpenBLAS's own threads would cut
/// long sums differently for different numbers of threads, and the results would differ in their last bits.)
void parallel_gemm(bool transpose_a, bool transpose_b, int64_t M, int64_t N, int64_t K, const Scalar* A,
                   const Scalar* B, Scalar beta, Scalar* C);

/// A matrix copied once into the order in which products read it, for several of them.
class PackedMatrix {
 public:
  /// Takes op(B), (K, N).
  void pack(bool transpose, int64_t K, int64_t N, const Scalar* B, int64_t ldb);
  /// C (M, N) = A op(B) or C + A op(B), with the first K rows and N columns of op(B) only, in parallel over columns.
  /// There are zeros to the right of it, up to a whole SIMD register. Throws if K or N go beyond.
  void multiply(int64_t M, int64_t K, int64_t N, const Scalar* A, int64_t lda, bool add, Scalar* C, int64_t ldc) const;

 private:
  Storage copy_;  // panels one after the other, rows_ x panel each
  int64_t rows_ = 0, columns_ = 0;
};

/// Packed copies of weights, for a time in which nothing writes to them and several products use each: the
/// micro-batches of an update, the steps of decoding. Each copy is made by the thread that needs it first; all threads
/// read it.
class PackedWeights {
 public:
  /// While one lives, weight_gemm on this thread reads parameters from these copies.
  class Scope {
   public:
    explicit Scope(PackedWeights& weights);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    PackedWeights* previous_;
  };
  /// op(W), (K, N), of a dense W.
  const PackedMatrix& packed(bool transpose, int64_t K, int64_t N, const Storage& W);

 private:
  struct Copy {
    Storage original;  // kept, so that no other weight comes to lie at its address
    std::once_flag packed;
    PackedMatrix matrix;
  };
  std::mutex mutex_;
  std::map<std::pair<const Scalar*, bool>, Copy> copies_;
};

/// C (M, N) = A op(W) + beta C, dense, in parallel. A parameter, which lives as long as its model, is read from its
/// copy in PackedWeights, if this thread is in a scope of one.
void weight_gemm(bool transpose, int64_t M, int64_t N, int64_t K, const Scalar* A, const Storage& W, bool parameter,
                 Scalar beta, Scalar* C);

/// into[j] += sum over rows i of x[i][j], for x (rows, width): in parallel over columns.
void add_column_sums(const Scalar* x, int64_t rows, int64_t width, Scalar* into);

}  // namespace difftensor::inline DT_PRECISION::kernels
