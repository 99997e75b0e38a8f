#pragma once
// SIMD registers as values: arithmetic on a Simd is arithmetic on all its lanes.
#include "core/base.h"

namespace difftensor::inline DT_PRECISION::kernels {

#ifdef __AVX512F__
constexpr int64_t simd_bytes = 64;
#else
constexpr int64_t simd_bytes = 32;
#endif
constexpr int64_t lanes = simd_bytes / sizeof(Scalar);
using Simd = Scalar __attribute__((vector_size(simd_bytes)));
/// The same at any address.
using Unaligned = Scalar __attribute__((vector_size(simd_bytes), aligned(sizeof(Scalar)), may_alias));

/// How many Scalars the registers hold that n of them take.
constexpr int64_t whole_registers(int64_t n) { return (n + lanes - 1) / lanes * lanes; }

}  // namespace difftensor::inline DT_PRECISION::kernels
