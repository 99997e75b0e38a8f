#pragma once
// Matrices that several products share. "Packed" means here: copied into the order in which a product reads them, panel
// after panel (core/kernels/gemm.cpp draws a panel). Packed sentences are something else: laid end to end.
#include <atomic>
#include <map>
#include <mutex>
#include <tuple>

#include "core/storage.h"

namespace difftensor::inline DT_PRECISION::kernels {

/// A packed copy of a matrix.
class PackedMatrix {
 public:
  /// Takes op(B), (K, N), in parallel over panels.
  void pack(bool transpose, int64_t K, int64_t N, const Scalar* B, int64_t ldb);
  /// Takes B, (K, N), without a copy, for a single product of few rows: it must stay where it lies until then.
  void refer(int64_t K, int64_t N, const Scalar* B, int64_t ldb);
  /// The same as pack() in steps, for threads that share the work: room first, then each panel, in any order.
  void reserve(int64_t K, int64_t N);
  void pack_panel(int64_t index, bool transpose, const Scalar* B, int64_t ldb);
  int64_t panels() const;
  /// C (M, N) = A op(B) or C + A op(B), with the first K rows and N columns of op(B) only, in parallel over columns.
  /// There are zeros to the right of a copy, up to a whole SIMD register. Throws if K or N go beyond.
  void multiply(int64_t M, int64_t K, int64_t N, const Scalar* A, int64_t lda, bool add, Scalar* C, int64_t ldc) const;

 private:
  Storage copy_;  // panels one after the other, rows_ x panel each
  int64_t rows_ = 0, columns_ = 0;
  const Scalar* in_place_ = nullptr;  // B itself, if there is no copy of it
  int64_t ld_ = 0;                    // and the distance between two of its rows
};

/// Packed copies of weights, for a time in which nothing writes to them and several products use each: the
/// micro-batches of an update, the steps of decoding. Each copy is made by the threads that need it: at the start of an
/// update all come to the first layer at the same time, and share its panels out among them.
class PackedWeights {
 public:
  /// While one lives, weight_gemm on this thread reads parameters from these copies.
  class Scope {
   public:
    explicit Scope(PackedWeights& weights);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

    PackedWeights& weights;
    double seconds = 0;  ///< that this thread spent on packing

   private:
    Scope* previous_;
  };
  /// op(W), (K, N), of a dense W.
  const PackedMatrix& packed(bool transpose, int64_t K, int64_t N, const Storage& W);

 private:
  struct Copy {
    Storage original;  // kept, so that no other weight comes to lie at its address
    std::once_flag reserved;
    PackedMatrix matrix;
    std::atomic<int64_t> next = 0, packed = 0;  // panels: to be packed next, and done
  };
  std::mutex mutex_;
  // By the address, whether it is transposed, how often it was written (a copy that went stale is not found), and K and
  // N: tensors of other shapes may share its values.
  std::map<std::tuple<const Scalar*, bool, int64_t, int64_t, int64_t>, Copy> copies_;
};

/// C (M, N) = A op(W), or C + A op(W) if `add`; dense, in parallel. If W is a module's parameter and this thread is in
/// a PackedWeights::Scope, a packed copy of W is read. (Other matrices, and leaves that a program makes on its way,
/// change or die too soon to be worth keeping one.) A row of C has the same bits whatever M.
void weight_gemm(bool transpose, int64_t M, int64_t N, int64_t K, const Scalar* A, const Storage& W, bool parameter,
                 bool add, Scalar* C);

}  // namespace difftensor::inline DT_PRECISION::kernels
