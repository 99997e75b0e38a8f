#pragma once
// What several test files need.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <string>

#include "core/tensor.h"

/// Two ways to compute one thing may differ by this much.
inline constexpr double rounding = sizeof(difftensor::Scalar) == 4 ? 1e-5 : 1e-12;

/// What f() throws, as text; "no error" if it does not.
template <class F>
std::string error_of(F f) {
  try {
    f();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "no error";
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// max |a - b|; infinite if one of them is NaN or the shapes differ.
inline double largest_difference(const difftensor::Tensor& a, const difftensor::Tensor& b) {
  if (!(a.shape() == b.shape())) return INFINITY;
  double worst = 0;
  for (int64_t i = 0; i < a.numel(); ++i) {
    const double d = std::abs(static_cast<double>(a.data()[i]) - static_cast<double>(b.data()[i]));
    worst = std::isnan(d) ? INFINITY : std::max(worst, d);
  }
  return worst;
}
