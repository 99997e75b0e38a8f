#pragma once
// Learning rates as functions of the update number, which counts from 1:  optimizer.set_lr(schedule(update)).
#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>

#include "core/base.h"

namespace difftensor::inline DT_PRECISION::optim {

/// The learning rate of an update.
using Schedule = std::function<double(int64_t update)>;

/// `lr` always.
inline Schedule constant(double lr) {
  return [lr](int64_t) { return lr; };
}

/// Rises linearly to `peak` at update `warmup`, then falls with 1 / sqrt(update) (Vaswani et al. 2017). Throws
/// unless warmup > 0.
inline Schedule inverse_sqrt(double peak, int64_t warmup) {
  require(warmup > 0, "inverse_sqrt", "warmup must be positive, not ", warmup);
  return [=](int64_t update) {
    const double ratio = static_cast<double>(update) / static_cast<double>(warmup);
    return peak * std::min(ratio, 1 / std::sqrt(ratio));
  };
}

/// Rises linearly to `peak` at update `warmup`, then falls along half a cosine wave (Loshchilov, Hutter 2017) to
/// `final_fraction` of it at update `total`, and stays there. Throws unless 0 <= warmup < total.
inline Schedule cosine(double peak, int64_t warmup, int64_t total, double final_fraction = 0) {
  require(0 <= warmup && warmup < total, "cosine", "warmup ", warmup, " must end before the last update, ", total);
  return [=](int64_t update) {
    if (update < warmup) return peak * static_cast<double>(update) / static_cast<double>(warmup);
    const double progress = static_cast<double>(std::min(update, total) - warmup) / static_cast<double>(total - warmup);
    return peak * (final_fraction + (1 - final_fraction) * (1 + std::cos(std::numbers::pi * progress)) / 2);
  };
}

}  // namespace difftensor::inline DT_PRECISION::optim
