#pragma once
// What the laws share: bits compared, and one op's forward and backward in a line.
#include <algorithm>
#include <cstring>
#include <limits>

#include "tests/property.h"
#include "tests/testing.h"

namespace property {

inline constexpr double unit = std::numeric_limits<Scalar>::epsilon();

inline bool same_bits(const Tensor& a, const Tensor& b) {
  if (a.defined() != b.defined()) return false;
  if (!a.defined()) return true;
  return a.shape() == b.shape() && (a.numel() == 0 || std::memcmp(std::as_const(a).data(), std::as_const(b).data(),
                                                                  a.numel() * sizeof(Scalar)) == 0);
}
inline bool same_bits(const Tensors& a, const Tensors& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Tensor& x, const Tensor& y) { return same_bits(x, y); });
}

/// The result of f, and the gradient of each input, given one that is drawn from `at` for the result.
template <class F>
Tensors forward_and_backward(F f, const Tensors& inputs, int at, Scalar times = 1) {
  Tensors x;
  for (const Tensor& input : inputs) x.push_back(input.clone().requires_grad(input.needs_grad()));
  const Tensor y = f(x);
  Tensors results = {y.detach()};
  Random random(static_cast<uint64_t>(at));
  if (y.needs_grad()) y.backward(randn(y.shape(), random) * times);
  for (const Tensor& t : x) results.push_back(t.grad());
  return results;
}
inline Tensors parameters(const Arrays& inputs) {
  Tensors x;
  for (const Array& input : inputs) x.push_back(to_tensor(input).requires_grad());
  return x;
}

/// Multiples of 1/8 up to 4: sums and products of a few are exact.
inline Tensor grid(Draw& d, const Shape& shape) {
  Tensor x(shape);
  for (int64_t i = 0; i < x.numel(); ++i) x.data()[i] = static_cast<Scalar>(d.between(-32, 32)) / 8;
  return x;
}
inline Tensor random_tensor(Draw& d, const Shape& shape) { return to_tensor(d.values(shape)); }

/// f(draw, number) for each case of a law.
template <class F>
void each_case(const std::string& law, int usual, F f) {
  for (int i = 0; i < cases(usual); ++i) {
    Draw draw(law, i);
    INFO("DT_PROPERTY_SEED=", seed(), ", ", law, ", case ", i);
    f(draw, i);
  }
}

/// |a - b| <= units in the last place of the larger tensor's largest element.
inline bool near(const Tensor& a, const Tensor& b, double units) {
  return largest_difference(a, b) <= units * unit * std::max({1e-30, largest(to_array(a)), largest(to_array(b))});
}

}  // namespace property
