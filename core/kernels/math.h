#pragma once
// exp, and what is made of it, written so that the compiler can vectorise loops over it.
#include <bit>
#include <cmath>
#include <cstdint>

#include "core/kernels/multiply_add.h"

namespace difftensor::inline DT_PRECISION::kernels {

/// x = n ln 2 + r, |r| <= ln(2) / 2, n an integer: exp(x) = 2^n exp(r).
/// exp(r) is 1 + r + r^2 p(r), p of degree 5 (coefficients: Cephes, expf.c).
struct ReducedExp {
  float exp_r;
  int32_t n;
};
inline ReducedExp reduced_exp(float x) {
  constexpr float shift = 0x1.8p23f;  // adding it rounds to an integer, which is then in the low bits
  const float shifted = multiply_add(x, 1.44269504088896341f, shift);
  const uint32_t n = std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(shift);
  const float nf = shifted - shift;
  // ln 2 in two parts, the first exact times n
  const float r = multiply_add(nf, 2.12194440e-4f, multiply_add(nf, -0.693359375f, x));
  float p = 1.9875691500e-4f;
  p = multiply_add(p, r, 1.3981999507e-3f);
  p = multiply_add(p, r, 8.3334519073e-3f);
  p = multiply_add(p, r, 4.1665795894e-2f);
  p = multiply_add(p, r, 1.6666665459e-1f);
  p = multiply_add(p, r, 5.0000001201e-1f);
  return {1 + multiply_add(r * r, p, r), static_cast<int32_t>(n)};
}
/// 2^n for -126 <= n <= 127, written into the exponent bits.
inline float power_of_two(int32_t n) { return std::bit_cast<float>((static_cast<uint32_t>(n) + 127) << 23); }

/// exp(x) in float: branch-free, so that a loop over it becomes SIMD code (16 at a time with AVX-512). Error: at most
/// 1.02 units in the last place over the normal range, 1 of the smallest denormal below it. exp(-inf) = 0, above 88.73
/// inf, NaN stays NaN.
inline float exp(float x) {
  x = x < -104.f ? -104.f : x;  // (a NaN fails both comparisons and goes through)
  x = x > 89.f ? 89.f : x;
  const ReducedExp e = reduced_exp(x);
  const int32_t half = e.n >> 1;  // in two factors, because 2^128 and 2^-149 are not normal floats
  return e.exp_r * power_of_two(half) * power_of_two(e.n - half);
}
inline double exp(double x) { return std::exp(x); }

/// exp(x) for x <= 0, shorter: below -87.33, where the result would no longer be a normal number, it is 0. For softmax,
/// where it is one term of a sum that is at least 1.
inline float exp_nonpositive(float x) {
  const ReducedExp e = reduced_exp(x);
  return x < -87.33f ? 0.f : e.exp_r * power_of_two(e.n);
}
inline double exp_nonpositive(double x) { return std::exp(x); }

template <class T>
inline T sigmoid(T x) {
  return 1 / (1 + kernels::exp(-x));
}

}  // namespace difftensor::inline DT_PRECISION::kernels
