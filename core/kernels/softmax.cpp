#include "core/kernels/softmax.h"

#ifdef __AVX__
#include <immintrin.h>
#endif

#include "core/kernels/parallel.h"
#include "core/kernels/simd.h"
#include "core/storage.h"

namespace difftensor::inline DT_PRECISION::kernels {
namespace {

// y = softmax(scale x), for a result that will not stay in a cache: an ordinary store would first read y from
// memory. `y` is aligned to a register, n a whole number of them, `row` has room for n. Call streaming_done() before
// others read y.
void softmax_row_streaming(const Scalar* x, Scalar* y, int64_t n, Scalar scale, Scalar* row) {
  const Scalar norm = exp_row(x, row, n, scale).norm();
  for (int64_t i = 0; i < n; i += lanes) {
    __builtin_prefetch(x + n + i);  // the next row: it comes while this one goes
    const Simd p = load(row + i) * norm;
#if defined(__AVX512F__) && !defined(DT_DOUBLE)
    _mm512_stream_ps(y + i, reinterpret_cast<__m512>(p));
#elif defined(__AVX__) && !defined(DT_DOUBLE)
    _mm256_stream_ps(y + i, reinterpret_cast<__m256>(p));
#else
    *reinterpret_cast<Simd*>(y + i) = p;
#endif
  }
}
void streaming_done() {
#ifdef __AVX__
  _mm_sfence();
#endif
}

}  // namespace

void softmax_rows(const Scalar* x, Scalar* y, int64_t rows, int64_t width, Scalar scale) {
  constexpr int64_t large = int64_t{16} << 20;  // bytes: more than a core's share of the caches
  const bool streaming = rows * width * static_cast<int64_t>(sizeof(Scalar)) > large && width % lanes == 0;
  parallel_for(rows, row_grain(width), [=](int64_t begin, int64_t end) {
    if (!streaming) {
      for (int64_t r = begin; r < end; ++r) softmax_row(x + r * width, y + r * width, width, scale);
      return;
    }
    Storage row(width);
    for (int64_t r = begin; r < end; ++r) softmax_row_streaming(x + r * width, y + r * width, width, scale, row.data());
    streaming_done();
  });
}

}  // namespace difftensor::inline DT_PRECISION::kernels
