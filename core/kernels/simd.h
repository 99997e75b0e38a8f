#pragma once
// SIMD registers as values: arithmetic on a Simd is arithmetic on all its lanes. g++ and clang++ both know such vectors.
#include <cstring>

#include "core/kernels/multiply_add.h"
#ifdef __FMA__
#include <immintrin.h>
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
#else
  Simd sum;
  for (int64_t i = 0; i < lanes; ++i) sum[i] = multiply_add(x[i], y[i], z[i]);
  return sum;
#endif
}

/// How many Scalars the registers hold that n of them take.
constexpr int64_t whole_registers(int64_t n) { return (n + lanes - 1) / lanes * lanes; }

}  // namespace difftensor::inline DT_PRECISION::kernels
