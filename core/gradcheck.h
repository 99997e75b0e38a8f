#pragma once
// Are gradients right? A derivative is a limit of difference quotients, so compare with one.
#include <functional>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace difftensor::inline DT_PRECISION {

/// In float a quotient of rounded numbers holds two digits: enough to see a wrong formula. In double it holds eight.
struct GradcheckOptions {
  double eps = sizeof(Scalar) == 8 ? 1e-6 : 1e-2;
  double tolerance = sizeof(Scalar) == 8 ? 1e-6 : 1e-2;
};

struct GradcheckResult {
  bool ok;
  double error;         ///< the worst |analytic - numeric| / max(1, |analytic|, |numeric|) of any element
  std::string message;  ///< where it is, and both values
};

/// Checks the gradients of L(x) = sum(c * f(x)), with a random c that is the same in every call, against
///   dL/dx_i = (L(x_i + eps) - L(x_i - eps)) / (2 eps)
/// for every element of every input. What a second backward() adds to a gradient already there is checked too.
/// f must be smooth near x, and give the same result for the same inputs: seed any randomness inside it.
///
///   GradcheckResult result = gradcheck([](auto& x) { return matmul(x[0], x[1]); }, {a, b});
GradcheckResult gradcheck(const std::function<Tensor(const std::vector<Tensor>&)>& f, const std::vector<Tensor>& inputs,
                          const GradcheckOptions& options = {});

}  // namespace difftensor::inline DT_PRECISION
