#pragma once
// Forward and backward passes of a batch's parts, on several threads at once.
#include <cstdint>
#include <functional>
#include <vector>

#include "core/base.h"

namespace difftensor::inline DT_PRECISION {

/// Where the time of a parallel_backward went, in seconds.
struct PassTimes {
  std::vector<double> parts;        ///< each f(i), without packing
  double packing, adding, waiting;  ///< weights, gradients, for something to do: of all threads together
};

/// Calls f(i) for every i in [0, n), several at once on as many threads as OpenMP has. Each call builds a graph of its
/// own over the same parameters and calls backward() on it; what that leaves in the parameters' grad() is added up in
/// the order of i, so the sums have the same bits with any number of threads. This is how a batch is divided: the
/// threads meet once for each part of the batch, not in every op, and a part's activations stay in its core's cache.
/// There are at most as many gradients at a time as threads.
/// Weights are packed once for all calls (core/kernels/packed_weights.h), so f must not write to parameters.
///
/// Within f, a parameter's grad() is what this call has made. NoGrad and DetectAnomaly hold on all threads if they hold
/// around this call. default_random() belongs to the thread: an f that draws from it seeds it first, by i; afterwards
/// it is as it was. What f throws is thrown again here, that of the lowest i; gradients are then undefined.
PassTimes parallel_backward(int64_t n, const std::function<void(int64_t)>& f);

}  // namespace difftensor::inline DT_PRECISION
