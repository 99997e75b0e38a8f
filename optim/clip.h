#pragma once
// Gradient clipping.
#include <functional>
#include <vector>

#include "core/tensor.h"

namespace difftensor::inline DT_PRECISION::optim {

/// Squares are summed in pieces of so many elements, from the beginning of each gradient.
constexpr int64_t norm_piece = 8192;

/// Multiplies every gradient by min(1, max_norm / (norm + 1e-6)), where norm is the Euclidean length of all of them
/// taken together (Pascanu et al. 2013), as PyTorch's clip_grad_norm_. Returns the norm before clipping. If that
/// is NaN because a gradient is, all gradients become NaN; if it is infinite, the finite ones become 0 and the infinite
/// NaN: no part of such an update looks sound. Squares are summed in double, and gradients of every size have their
/// norm. Works in place, on the buffers of grad(); parameters without a gradient are skipped.
/// Throws if max_norm is negative or NaN.
///
/// Where several processes have some of the gradients each, `gather` is given the sums of this one's pieces, in their
/// order, and returns those of all: every process gets the same norm.
double clip_grad_norm(
    const std::vector<Tensor>& parameters, double max_norm,
    const std::function<std::vector<double>(const std::vector<double>&)>& gather = [](auto& sums) { return sums; });

}  // namespace difftensor::inline DT_PRECISION::optim
