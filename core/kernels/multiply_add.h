#pragma once
// x y + z, rounded once. A compiler that may choose makes one loop of such operations, and the next, or the end of the
// same loop, of products and sums, rounded twice: then a number's bits depend on where in a matrix it lies. So it may
// not (-ffp-contract=off in the Makefile), and kernels that want the operation say so here.
#include <cmath>

#include "core/base.h"

namespace difftensor::inline DT_PRECISION::kernels {

/// x y + z, rounded once. On a CPU without such an instruction it is a product and a sum, everywhere: std::fma would be
/// a slow call there.
inline float multiply_add(float x, float y, float z) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return std::fma(x, y, z);
#else
  return x * y + z;
#endif
}
inline double multiply_add(double x, double y, double z) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return std::fma(x, y, z);
#else
  return x * y + z;
#endif
}

}  // namespace difftensor::inline DT_PRECISION::kernels
