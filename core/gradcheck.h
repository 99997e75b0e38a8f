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
  bool allow_unused = false;  ///< an input or parameter that has no influence on f is no error
};

/// What gradcheck() found.
struct [[nodiscard]] GradcheckResult {
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
///
/// f gets copies of the inputs. `parameters` are what it uses besides: they are checked as they are, moved and moved
/// back, and left without a gradient, even if f throws. For a layer, nn::gradcheck names them all. An input or
/// parameter without influence fails the check, unless allow_unused: most often f used something else in its place.
/// Throws if a parameter requires no gradient.
GradcheckResult gradcheck(const std::function<Tensor(const std::vector<Tensor>&)>& f, const std::vector<Tensor>& inputs,
                          const GradcheckOptions& options = {}, const std::vector<Tensor>& parameters = {});

}  // namespace difftensor::inline DT_PRECISION
