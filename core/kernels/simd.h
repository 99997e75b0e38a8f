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

}  // namespace difftensor::inline DT_PRECISION::kernels
