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

// What f throws must not leave a number moved, or a parameter with a gradient.
struct Restore {
  Scalar& element;
  const Scalar value = element;
  ~Restore() { element = value; }
};
struct ClearGradients {
  const std::vector<Tensor>& parameters;
  ~ClearGradients() {
    for (const Tensor& parameter : parameters) parameter.zero_grad();
  }
};
}  // namespace

GradcheckResult gradcheck(const std::function<Tensor(const std::vector<Tensor>&)>& f, const std::vector<Tensor>& inputs,
                          const GradcheckOptions& options, const std::vector<Tensor>& parameters) {
  for (const Tensor& p : parameters)
    require(p.is_parameter(), "gradcheck", "a parameter of shape ", p.shape(), " requires no gradient");
  const ClearGradients clear{parameters};
  std::vector<Tensor> copies;
  for (const Tensor& input : inputs) copies.push_back(input.clone().requires_grad());
  std::vector<Tensor> x = copies;  // all that is checked
  x.insert(x.end(), parameters.begin(), parameters.end());
  for (const Tensor& t : x) t.zero_grad();
  const auto name_of = [&](size_t k) {
    const std::string name = k < inputs.size() ? "" : x[k].node()->name;
    return name.empty() ? "input " + std::to_string(k) : name;
  };

  // The analytic gradients, of L = sum(c * f(x)): backward() from f(x) with the seed c. Twice, without clearing: the
  // second must add as much again, or the op overwrites gradients that others have added to.
  Tensor c;
  const auto backward = [&] {
    const Tensor y = f(copies);
    Random random(1);
    c = randn(y.shape(), random);
    if (y.needs_grad() || !options.allow_unused) y.backward(c);
  };
  // An input that has no influence gets no gradient, which is to say zero.
  const auto gradient = [](const Tensor& t) { return t.grad().defined() ? t.grad().clone() : zeros(t.shape()); };
  backward();
  std::vector<Tensor> after_one;
  for (const Tensor& t : x) after_one.push_back(gradient(t));
  backward();

  // The numeric ones: move one element of one input up, down, and back.
  const NoGrad no_grad;
  const auto loss = [&] {
    const Tensor y = f(copies);
    double total = 0;
    for (int64_t i = 0; i < y.numel(); ++i) total += static_cast<double>(y.data()[i]) * c.data()[i];
    return total;
  };
  if (const double once = loss(), again = loss(); once != again && !(std::isnan(once) && std::isnan(again)))
    return {false, std::numeric_limits<double>::infinity(),
            "f gives another result for the same inputs: seed the randomness inside it, or call eval()"};
  const auto quotient = [&](Scalar& element) {
    const Restore restore{element};
    element = static_cast<Scalar>(restore.value + options.eps);
    const double above = loss();
    element = static_cast<Scalar>(restore.value - options.eps);
    const double below = loss();
    return (above - below) / (2 * options.eps);
  };

  GradcheckResult worst{true, -1, "no elements"};
  for (size_t k = 0; k < x.size(); ++k) {
    const Tensor after_two = gradient(x[k]);
    bool used = x[k].numel() == 0 || options.allow_unused;
    for (int64_t i = 0; i < x[k].numel(); ++i) {
      const double numeric = quotient(x[k].data()[i]);
      const double first = after_one[k].data()[i], second = after_two.data()[i] - first;
      used |= numeric != 0 || first != 0;
      for (double analytic : {first, second}) {
        double error = std::abs(analytic - numeric) / std::max({1.0, std::abs(analytic), std::abs(numeric)});
        if (std::isnan(error)) error = std::numeric_limits<double>::infinity();
        if (error <= worst.error) continue;
        std::ostringstream text;
        text << "gradient of " << name_of(k) << " " << x[k].shape() << " at " << place_of(i, x[k].shape())
             << ": analytic " << analytic << ", numeric " << numeric << ", error " << error
             << (analytic == first ? "" : " (in a second backward)");
        worst = {error <= options.tolerance, error, text.str()};
      }
    }
    if (!used) {
      std::ostringstream text;
      text << name_of(k) << " " << x[k].shape() << " has no influence on the result (allow_unused)";
      return {false, std::numeric_limits<double>::infinity(), text.str()};
    }
  }
  return worst;
}

}  // namespace difftensor::inline DT_PRECISION
