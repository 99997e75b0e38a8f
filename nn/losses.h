#pragma once
// Losses made of ops. For classification there is cross_entropy in core/ops.h.
#include "core/ops.h"

namespace difftensor::inline DT_PRECISION::nn {

/// mean((prediction - target)^2). Throws unless the shapes are equal: broadcasting would hide a mistake.
inline Tensor mse_loss(const Tensor& prediction, const Tensor& target) {
  require(prediction.shape() == target.shape(), "mse_loss", "prediction ", prediction.shape(), " and target ",
          target.shape(), " must have one shape");
  Tensor error = prediction - target;
  return mean(error * error);
}

/// Mean of -t log s(x) - (1 - t) log(1 - s(x)), s the sigmoid, for targets t in [0, 1]. Computed as
/// max(x, 0) (1 - t) + max(-x, 0) t + log1p(exp(-|x|)), which cannot overflow. All three terms are >= 0, so nothing
/// cancels, and a sure right answer's loss, exp(-|x|), does not round to 0: right to a few units in the last place.
/// Throws unless the shapes are equal.
inline Tensor binary_cross_entropy_with_logits(const Tensor& logits, const Tensor& target) {
  require(logits.shape() == target.shape(), "binary_cross_entropy_with_logits", "logits ", logits.shape(),
          " and target ", target.shape(), " must have one shape");
  // Not relu, whose slope at 0 is 0: the maximum's is 1/2, and s(0) - t = 1/2 - t.
  const Tensor positive = maximum(logits, scalar(0)), negative = maximum(neg(logits), scalar(0));
  return mean(positive * (Scalar{1} - target) + negative * target + log1p(exp(neg(positive + negative))));
}

}  // namespace difftensor::inline DT_PRECISION::nn
