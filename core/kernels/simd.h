#pragma once
// SIMD registers as values: arithmetic on a Simd is arithmetic on all its lanes. g++ and clang++ both know such vectors.
#include <cstring>
#include <type_traits>
#include <utility>

#include "core/kernels/multiply_add.h"
#if defined(__FMA__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace difftensor::inline DT_PRECISION::kernels {

#if defined(__AVX512F__)
constexpr int64_t simd_bytes = 64;
#elif defined(__AVX__)
constexpr int64_t simd_bytes = 32;
#else
constexpr int64_t simd_bytes = 16;
#endif
constexpr int64_t lanes = simd_bytes / sizeof(Scalar);
using Simd = Scalar __attribute__((vector_size(simd_bytes)));

/// Reads and writes a register at any address: a copy of this size is one instruction.
inline Simd load(const Scalar* from) {
  Simd x;
  std::memcpy(&x, from, sizeof x);
  return x;
}
inline void store(Simd x, Scalar* to) { std::memcpy(to, &x, sizeof x); }

/// x in every lane.
inline Simd broadcast(Scalar x) { return x - Simd{}; }

/// x y + z, rounded once, in every lane: see multiply_add.h. (Of a loop over lanes g++ makes no single instruction.)
inline Simd multiply_add(Simd x, Simd y, Simd z) {
#if defined(__AVX512F__) && defined(DT_DOUBLE)
  return _mm512_fmadd_pd(x, y, z);
#elif defined(__AVX512F__)
  return _mm512_fmadd_ps(x, y, z);
#elif defined(__FMA__) && defined(DT_DOUBLE)
  return _mm256_fmadd_pd(x, y, z);
#elif defined(__FMA__)
  return _mm256_fmadd_ps(x, y, z);
#elif defined(__ARM_NEON) && defined(DT_DOUBLE)
  return vfmaq_f64(z, x, y);
#elif defined(__ARM_NEON)
  return vfmaq_f32(z, x, y);
#else
  Simd sum;
  for (int64_t i = 0; i < lanes; ++i) sum[i] = multiply_add(x[i], y[i], z[i]);
  return sum;
#endif
}

/// Lane i is element places[i] of a and b, end to end.
template <int... places>
Simd shuffle(Simd a, Simd b) {
#if __has_builtin(__builtin_shufflevector)
  return __builtin_shufflevector(a, b, places...);
#else  // g++ 11
  using Places = std::conditional_t<sizeof(Scalar) == 4, int32_t, int64_t> __attribute__((vector_size(simd_bytes)));
  return __builtin_shuffle(a, b, Places{places...});
#endif
}
/// Lane j: a[j] where bit `s` of j is 0, else b[j]; the lane s away instead if `other`.
template <int64_t s, bool other, int... j>
Simd alternate(Simd a, Simd b, std::integer_sequence<int, j...>) {
  return shuffle<((other ? j ^ int{s} : j) + (j & s ? int{lanes} : 0))...>(a, b);
}
/// Adds neighbours s apart, in half as many registers: lane j is a[j] + a[j ^ s] where bit `s` of j is 0, else the same
/// of b.
template <int64_t s>
Simd add_neighbours(Simd a, Simd b) {
  constexpr auto all = std::make_integer_sequence<int, lanes>();
  return alternate<s, false>(a, b, all) + alternate<s, true>(a, b, all);
}
/// Lane j: the sum of all lanes of row(first + j), for j < n. The lanes of so many registers are added in n - 1 steps,
/// where each by itself would take log2(lanes).
template <int64_t n = lanes, class Row>
Simd sums_of_lanes(Row row, int64_t first = 0) {
  if constexpr (n == 1)
    return row(first);
  else
    return add_neighbours<n / 2>(sums_of_lanes<n / 2>(row, first), sums_of_lanes<n / 2>(row, first + n / 2));
}

/// The sum of all lanes, and the largest: of neighbours s apart, for s = 1, 2, 4, ... Left to itself, a compiler adds
/// lane after lane, as the order of a sum is not its to choose; each addition then waits for the one before.
template <int64_t s = 1>
Scalar sum_of_lanes(Simd x) {
  if constexpr (s == lanes)
    return x[0];
  else
    return sum_of_lanes<2 * s>(add_neighbours<s>(x, x));
}
inline Simd larger(Simd x, Simd y) { return x > y ? x : y; }
template <int64_t s = 1>
Scalar max_of_lanes(Simd x) {
  if constexpr (s == lanes)
    return x[0];
  else
    return max_of_lanes<2 * s>(larger(x, alternate<s, true>(x, x, std::make_integer_sequence<int, lanes>())));
}

/// n, rounded up to whole registers.
constexpr int64_t whole_registers(int64_t n) { return (n + lanes - 1) / lanes * lanes; }

}  // namespace difftensor::inline DT_PRECISION::kernels
