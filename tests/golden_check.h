#pragma once
#include <string>

#include "core/base.h"

namespace difftensor::inline DT_PRECISION {

/// How far this library is from a golden file's numbers, each kind of tensor relative to what it may be: 1 is the
/// limit.
struct GoldenResult {
  double worst = 0;   ///< the largest error / tolerance
  std::string where;  ///< of which tensor, with the error itself
  int tensors = 0;    ///< how many were compared
  bool ok() const { return tensors > 0 && worst <= 1; }
};

/// Builds the model that the file describes (see tests/golden/golden.py): decoder-only if it has in.ids, otherwise an
/// encoder-decoder. Loads its initial parameters, and compares encoder output, logits, loss, every gradient, the losses
/// of its AdamW steps and the final parameters, as far as the file has them. A NaN, another shape, and a tensor of the
/// file that this model does not have are each a failure.
///
/// Errors are relative to the tensor's largest magnitude. Tolerances in double: 1e-9 for outputs, loss and gradients,
/// 1e-8 for the losses of the steps and the final parameters. In float: 1e-4 for outputs, 1e-4 for gradients relative
/// to the larger of the tensor's and 0.01 of the file's largest gradient, 1e-3 for losses; the final parameters are not
/// compared.
///
/// Throws std::exception naming the file's fault if it cannot be read or used: a setting, a length or an id that cannot
/// be, or other parameters than the model's.
GoldenResult check_golden(const std::string& path);

}  // namespace difftensor::inline DT_PRECISION
