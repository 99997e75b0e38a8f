#include "core/kernels/packed_weights.h"

#include <utility>

#include "core/kernels/gemm.h"
#include "core/kernels/panel.h"
#include "core/kernels/parallel.h"

namespace difftensor::inline DT_PRECISION::kernels {

void PackedMatrix::pack(bool transpose, int64_t K, int64_t N, const Scalar* B, int64_t ldb) {
  rows_ = K, columns_ = N;
  const int64_t panels = (N + panel - 1) / panel;
  if (copy_.size() < panels * panel * K) copy_ = Storage(panels * panel * K);
  parallel_for(panels, row_grain(panel * K), [=, to = copy_.data()](int64_t begin, int64_t end) {
    for (int64_t j = begin * panel; j < std::min(N, end * panel); j += panel)
      copy_panel<2>(transpose, B + (transpose ? j * ldb : j), ldb, K, std::min(panel, N - j),
                    reinterpret_cast<Simd*>(to + j * K));
  });
}

void PackedMatrix::multiply(int64_t M, int64_t K, int64_t N, const Scalar* A, int64_t lda, bool add, Scalar* C,
                            int64_t ldc) const {
  require(K <= rows_ && N <= whole_registers(columns_), "PackedMatrix", "more than was packed");
  for (int64_t i = 0; K == 0 && !add && i < M; ++i) std::fill_n(C + i * ldc, N, Scalar{0});
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
thread_local PackedWeights* packed_weights = nullptr;
}
PackedWeights::Scope::Scope(PackedWeights& weights) : previous_(std::exchange(packed_weights, &weights)) {}
PackedWeights::Scope::~Scope() { packed_weights = previous_; }

const PackedMatrix& PackedWeights::packed(bool transpose, int64_t K, int64_t N, const Storage& W) {
  Copy* copy;
  {
    const std::lock_guard lock(mutex_);
    copy = &copies_[{W.data(), transpose, W.writes()}];
  }
  std::call_once(copy->packed, [&] {
    copy->original = W;
    copy->matrix.pack(transpose, K, N, W.data(), transpose ? K : N);
  });
  return copy->matrix;
}

void weight_gemm(bool transpose, int64_t M, int64_t N, int64_t K, const Scalar* A, const Storage& W, bool parameter,
                 bool add, Scalar* C) {
  if (parameter && packed_weights)
    packed_weights->packed(transpose, K, N, W).multiply(M, K, N, A, K, add, C, N);
  else if (is_layer_shaped(N, K))
    parallel_gemm(false, transpose, M, N, K, A, W.data(), add, C);
  else {
    PackedMatrix copy;
    copy.pack(transpose, K, N, W.data(), transpose ? K : N);
    copy.multiply(M, K, N, A, K, add, C, N);
  }
}

}  // namespace difftensor::inline DT_PRECISION::kernels
