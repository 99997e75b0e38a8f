#pragma once
#if __cplusplus < 202002L
#error "difftensor needs C++20: -std=c++20 or later"
#endif

// The scalar type, the namespace that carries its precision, and the one way to report an error.
#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>

// The library is built for one precision at a time. Its names live in difftensor::f32 or
// difftensor::f64, inline namespaces: invisible in the source, different to the linker.
#ifdef DT_DOUBLE
#define DT_PRECISION f64
#else
#define DT_PRECISION f32
#endif

namespace difftensor::inline DT_PRECISION {

#ifdef DT_DOUBLE
using Scalar = double;
#else
using Scalar = float;
#endif

/// Throws std::invalid_argument("where: message...") unless `ok`. The message parts are printed
/// with operator<<, and only when needed, so a check on a hot path costs one branch.
template <class... Parts>
inline void require(bool ok, const char* where, const Parts&... message) {
  if (ok) [[likely]]
    return;
  std::ostringstream text;
  text << where << ": ";
  (text << ... << message);
  throw std::invalid_argument(text.str());
}

}  // namespace difftensor::inline DT_PRECISION
