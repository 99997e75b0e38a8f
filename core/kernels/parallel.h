#pragma once
// How loops are cut among threads. Pieces are fixed by the problem, never by the number of threads, and no two write
// the same place: so results have the same bits with any number of them.
#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <vector>

namespace difftensor {

/// Calls f(begin, end) on consecutive pieces of [0, n), each about `grain` long or shorter, in parallel. Their number
/// is one or a multiple of four, and they are equally long, so that two or four threads have equal shares. Each thread
/// takes one run of neighbouring pieces: what one op leaves in a core's cache, the next op finds there. What f throws,
/// as when memory runs out, is thrown again here, when all are done.
template <class F>
void parallel_for(int64_t n, int64_t grain, F f) {
  if (n <= 0) return;
  const int64_t pieces = n <= grain ? 1 : (n + 4 * grain - 1) / (4 * grain) * 4;
  // Long pieces begin at a multiple of 16: whole SIMD registers, and tiles of a matrix product.
  auto border = [=](int64_t piece) {
    const int64_t at = n * piece / pieces;
    return n / pieces < 64 || piece == pieces ? at : at / 16 * 16;
  };
  if (pieces == 1 || omp_in_parallel() || omp_get_max_threads() == 1) {
    for (int64_t piece = 0; piece < pieces; ++piece) f(border(piece), border(piece + 1));
    return;
  }
  std::exception_ptr error;  // none may leave a thread: that would end the program
#pragma omp parallel for schedule(static)
  for (int64_t piece = 0; piece < pieces; ++piece) try {
      f(border(piece), border(piece + 1));
    } catch (...) {
#pragma omp critical(difftensor_error)
      error = std::current_exception();
    }
  if (error) std::rethrow_exception(error);
}

/// The same with pieces of 8,192 elements, for cheap loops over elements: below that, waking a second thread
/// costs more than it saves.
template <class F>
void parallel_for(int64_t n, F f) {
  parallel_for(n, 8192, f);
}

/// The same over the elements of several arrays of such sizes, as one loop that wakes the threads once:
/// f(array, begin, end).
template <class F>
void parallel_for(const std::vector<int64_t>& sizes, F f) {
  std::vector<int64_t> before{0};  // elements of the arrays before each
  for (const int64_t size : sizes) before.push_back(before.back() + size);
  parallel_for(before.back(), [&](int64_t begin, int64_t end) {
    for (size_t i = std::upper_bound(before.begin(), before.end(), begin) - before.begin() - 1; begin < end; ++i) {
      const int64_t stop = std::min(end, before[i + 1]);
      if (begin < stop) f(i, begin - before[i], stop - before[i]);
      begin = std::max(begin, stop);
    }
  });
}

/// The grain of a loop over rows of so many elements, with a little arithmetic for each: about 16,384 elements.
inline int64_t row_grain(int64_t width) { return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, width)); }

}  // namespace difftensor
