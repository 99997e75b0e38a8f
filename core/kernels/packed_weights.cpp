#include "core/kernels/packed_weights.h"

#include <thread>
#include <utility>

#include "core/kernels/gemm.h"
#include "core/kernels/panel.h"
#include "core/kernels/parallel.h"

namespace difftensor::inline DT_PRECISION::kernels {

int64_t PackedMatrix::panels() const { return (columns_ + panel - 1) / panel; }

void PackedMatrix::reserve(int64_t K, int64_t N) {
  rows_ = K, columns_ = N, in_place_ = nullptr;
  if (copy_.size() < panels() * panel * K) copy_ = Storage(panels() * panel * K);
}

void PackedMatrix::refer(int64_t K, int64_t N, const Scalar* B, int64_t ldb) {
  rows_ = K, columns_ = N, in_place_ = B, ld_ = ldb;
}

void PackedMatrix::pack_panel(int64_t index, bool transpose, const Scalar* B, int64_t ldb) {
  const int64_t j = index * panel;
  copy_panel<2>(transpose, B + (transpose ? j * ldb : j), ldb, rows_, std::min(panel, columns_ - j),
                reinterpret_cast<Simd*>(copy_.data() + j * rows_));
}

void PackedMatrix::pack(bool transpose, int64_t K, int64_t N, const Scalar* B, int64_t ldb) {
  reserve(K, N);
  parallel_for(panels(), row_grain(panel * K), [=, this](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) pack_panel(index, transpose, B, ldb);
  });
}

void PackedMatrix::multiply(int64_t M, int64_t K, int64_t N, const Scalar* A, int64_t lda, bool add, Scalar* C,
                            int64_t ldc) const {
  require(K <= rows_ && N <= (in_place_ ? columns_ : whole_registers(columns_)), "PackedMatrix", "more than it has");
  for (int64_t i = 0; K == 0 && !add && i < M; ++i) std::fill_n(C + i * ldc, N, Scalar{0});
  if (in_place_ && K > 0) return gemm(false, false, M, N, K, A, lda, in_place_, ld_, add, C, ldc);
  parallel_for((N + panel - 1) / panel, 1, [=, this](int64_t begin, int64_t end) {
    for (int64_t k = 0; k < K; k += k_block)
      for (int64_t j = begin * panel; j < std::min(N, end * panel); j += panel) {
        const TilesOfA tiles{A + k, tile_rows * lda, lda, 1, j == 0};
        const int64_t columns = std::min(panel, N - j);
        (columns > lanes ? multiply_panel<2> : multiply_panel<1>)(M, columns, std::min(k_block, K - k), tiles,
                                                                  copy_.data() + j * rows_ + k * panel, panel,
                                                                  add || k > 0, C + j, ldc);
      }
  });
}

namespace {
thread_local PackedWeights::Scope* scope = nullptr;
}
PackedWeights::Scope::Scope(PackedWeights& kept) : weights(kept), previous_(std::exchange(scope, this)) {}
PackedWeights::Scope::~Scope() { scope = previous_; }

const PackedMatrix& PackedWeights::packed(bool transpose, int64_t K, int64_t N, const Storage& W) {
  Copy* copy;
  {
    const std::lock_guard lock(mutex_);
    copy = &copies_[{W.data(), transpose, W.writes(), K, N}];
  }
  PackedMatrix& matrix = copy->matrix;
  std::call_once(copy->reserved, [&] {
    copy->original = W;
    matrix.reserve(K, N);
  });
  const int64_t panels = matrix.panels();
  if (copy->packed == panels) return matrix;
  const double start = omp_get_wtime();
  parallel_for(panels, row_grain(panel * K), [&](int64_t, int64_t) {  // whatever its own part: the next to do
    for (int64_t index; (index = copy->next++) < panels; ++copy->packed)
      matrix.pack_panel(index, transpose, W.data(), transpose ? K : N);
  });
  while (copy->packed < panels) std::this_thread::yield();  // others still pack theirs
  if (scope) scope->seconds += omp_get_wtime() - start;
  return matrix;
}

void weight_gemm(bool transpose, int64_t M, int64_t N, int64_t K, const Scalar* A, const Storage& W, bool parameter,
                 bool add, Scalar* C) {
  if (parameter && scope)
    scope->weights.packed(transpose, K, N, W).multiply(M, K, N, A, K, add, C, N);
  else if (is_layer_shaped(N, K))
    parallel_gemm(false, transpose, M, N, K, A, W.data(), add, C);
  else {
    PackedMatrix copy;
    copy.pack(transpose, K, N, W.data(), transpose ? K : N);
    copy.multiply(M, K, N, A, K, add, C, N);
  }
}

}  // namespace difftensor::inline DT_PRECISION::kernels
