#include "core/gradcheck.h"

#include <cmath>
#include <limits>

#include "core/autograd.h"

namespace difftensor::inline DT_PRECISION {
namespace {
// Element i's place along each axis; printed as (2, 0).
Shape place_of(int64_t i, const Shape& shape) {
  Shape place = shape;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    place[axis] = i % shape[axis];
    i /= shape[axis];
  }
  return place;
}
}  // namespace

GradcheckResult gradcheck(const std::function<Tensor(const std::vector<Tensor>&)>& f, const std::vector<Tensor>& inputs,
                          const GradcheckOptions& options) {
  std::vector<Tensor> x;
  for (const Tensor& input : inputs) x.push_back(input.clone().requires_grad());
  Tensor cotangent;
  const auto backward = [&] {
    const Tensor y = f(x);
    Random random(1);
    cotangent = randn(y.shape(), random);
    y.backward(cotangent);
  };
  // An input that has no influence gets no gradient, which is to say zero.
  const auto gradient = [](const Tensor& t) { return t.grad().defined() ? t.grad().clone() : zeros(t.shape()); };
  backward();
  std::vector<Tensor> once;
  for (const Tensor& t : x) once.push_back(gradient(t));
  backward();

  const NoGrad no_grad;
  const auto loss = [&] {
    const Tensor y = f(x);
    double total = 0;
    for (int64_t i = 0; i < y.numel(); ++i) total += static_cast<double>(y.data()[i]) * cotangent.data()[i];
    return total;
  };
  GradcheckResult result{true, -1, "no elements"};
  for (size_t k = 0; k < x.size(); ++k) {
    const Tensor twice = gradient(x[k]);
    for (int64_t i = 0; i < x[k].numel(); ++i) {
      Scalar& element = x[k].data()[i];
      const Scalar value = element;
      element = static_cast<Scalar>(value + options.eps);
      const double above = loss();
      element = static_cast<Scalar>(value - options.eps);
      const double below = loss();
      element = value;
      const double numeric = (above - below) / (2 * options.eps);

      const double first = once[k].data()[i], second = twice.data()[i] - first;
      for (double analytic : {first, second}) {
        double error = std::abs(analytic - numeric) / std::max({1.0, std::abs(analytic), std::abs(numeric)});
        if (std::isnan(error)) error = std::numeric_limits<double>::infinity();
        if (error <= result.error) continue;
        std::ostringstream text;
        text << "gradient of input " << k << " " << x[k].shape() << " at " << place_of(i, x[k].shape()) << ": analytic "
             << analytic << ", numeric " << numeric << ", error " << error
             << (analytic == first ? "" : " (in a second backward)");
        result = {error <= options.tolerance, error, text.str()};
      }
    }
  }
  return result;
}

}  // namespace difftensor::inline DT_PRECISION
