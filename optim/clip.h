#pragma once
// Gradient clipping.
#include <vector>

#include "core/tensor.h"

namespace difftensor::inline DT_PRECISION::optim {

/// Multiplies every gradient by min(1, max_norm / (norm + 1e-6)), where norm is the Euclidean length of all of them
/// taken together (Pascanu et al. 2013), as PyTorch's clip_grad_norm_. Returns the norm before clipping, which is NaN
/// or infinite if a gradient is. Works in place, on the buffers of grad(); parameters without a gradient are skipped.
/// Throws if max_norm is negative or NaN.
double clip_grad_norm(const std::vector<Tensor>& parameters, double max_norm);

}  // namespace difftensor::inline DT_PRECISION::optim
