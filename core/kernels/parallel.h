#pragma once
// How loops are cut among threads. Pieces are fixed by the problem, never by the number of threads, and no two write
// the same place: so results have the same bits with any number of them.
#include <omp.h>

#include <algorithm>
#include <cstdint>

namespace difftensor {

/// Calls f(begin, end) on consecutive pieces of [0, n), at most `grain` long, in parallel.
/// Each thread takes one run of neighbouring pieces, so that what one op leaves in a core's cache, the next op
/// finds there. f must not throw.
template <class F>
void parallel_for(int64_t n, int64_t grain, F f) {
  int64_t pieces = (n + grain - 1) / grain;
  if (pieces <= 1 || omp_in_parallel()) {
    for (int64_t begin = 0; begin < n; begin += grain) f(begin, std::min(n, begin + grain));
    return;
  }
#pragma omp parallel for schedule(static)
  for (int64_t piece = 0; piece < pieces; ++piece) f(piece * grain, std::min(n, (piece + 1) * grain));
}

/// The same with pieces of 8,192 elements, for cheap loops over elements: below that, waking a second thread
/// costs more than it saves.
template <class F>
void parallel_for(int64_t n, F f) {
  parallel_for(n, 8192, f);
}

}  // namespace difftensor
