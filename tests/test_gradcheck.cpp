// The gradient of every op, checked against central differences; and the checker itself.
#include <doctest/doctest.h>

#include <cmath>
#include <set>
#include <stdexcept>

#include "core/gradcheck.h"
#include "tests/gradcheck_rows.h"
#include "tests/testing.h"

using namespace difftensor;

namespace {
using Inputs = const std::vector<Tensor>&;

// Inputs whose n elements have the magnitudes 0.5, 0.5 + 1/n, ..., shuffled: so none is near the kink of relu, and no
// two are near the kink of a maximum.
std::vector<Tensor> inputs_for(const Row& row) {
  std::vector<Scalar> values;
  int64_t n = 0;
  for (const Shape& shape : row.shapes) n += shape.numel();
  Random random(7);
  for (int64_t i = 0; i < n; ++i) {
    values.push_back(Scalar(0.5) + static_cast<Scalar>(i) / static_cast<Scalar>(n));
    std::swap(values[i], values[random.below(i + 1)]);
  }
  std::vector<Tensor> inputs;
  for (const Shape& shape : row.shapes) {
    Tensor& x = inputs.emplace_back(shape);
    for (int64_t i = 0; i < x.numel(); ++i) x.data()[i] = values[--n] * (row.sign == Plus || random.below(2) ? 1 : -1);
  }
  return inputs;
}
}  // namespace

TEST_CASE("gradcheck of every op") {
  // One thread: waking others for thousands of tiny results takes longer than the work, much longer on a busy machine.
  const Threads one(1);
  for (const Row& row : all_rows()) {
    // Of maximum(a, b) with one a, that may be the smallest of all.
    GradcheckResult result = gradcheck(row.f, inputs_for(row), {.allow_unused = true});
    CHECK_MESSAGE(result.ok, row.name, ": ", result.message);
  }
}

TEST_CASE("every op that is declared has a row") {
  std::set<std::string> have = {"sinusoids", "one_hot", "eq", "ne", "lt", "le", "gt", "ge"};  // these have no gradient
  for (const Row& row : all_rows()) have.insert(row.name.substr(0, row.name.find(' ')));
  for (const std::string& name : declared_ops()) CHECK_MESSAGE(have.contains(name), name, " has no row");
  CHECK(declared_ops().size() > 90);
}

namespace {
// y = x^2 with dx += `slope`(x) dy: 2 x would be right. `beta` is 1 to add to what is there, 0 to overwrite it.
template <class Slope>
Tensor square(const Tensor& x, Slope slope, int beta = 1) {
  Tensor y = (x.detach() * x.detach()).detach();
  return record("square", y, {x}, [x = x.storage(), slope, beta](const Gradients& g) {
    Scalar* dx = g.buffer(0);
    for (int64_t i = 0; i < x.size(); ++i) dx[i] = beta * dx[i] + g.out[i] * slope(x.data()[i]);
  });
}
}  // namespace

TEST_CASE("gradcheck sees a wrong gradient and says where") {
  const Tensor x = tensor({1, 2, 3, -1, -2, -3}, {2, 3});
  const auto right = [](Scalar v) { return 2 * v; };

  CHECK(gradcheck([=](Inputs x) { return square(x[0], right); }, {x}).ok);
  CHECK_FALSE(gradcheck([](Inputs x) { return square(x[0], [](Scalar v) { return v; }); }, {x}).ok);

  SUBCASE("in one element only") {
    const auto wrong_at_minus_2 = [](Scalar v) { return v == -2 ? 3 * v : 2 * v; };
    const auto result = gradcheck([=](Inputs x) { return x[0] + square(x[1], wrong_at_minus_2); }, {x, x});
    CHECK_FALSE(result.ok);
    CHECK_MESSAGE(result.message.starts_with("gradient of input 1 (2, 3) at (1, 1): analytic "), result.message);
  }
  SUBCASE("by a little") {
    const Scalar factor = sizeof(Scalar) == 8 ? Scalar(2.0001) : Scalar(2.1);
    CHECK_FALSE(gradcheck([=](Inputs x) { return square(x[0], [=](Scalar v) { return factor * v; }); }, {x}).ok);
  }
  SUBCASE("that overwrites an earlier one") {
    const auto result = gradcheck([=](Inputs x) { return square(x[0], right, 0); }, {x});
    CHECK_FALSE(result.ok);
    CHECK(result.message.ends_with("(in a second backward)"));
  }
  SUBCASE("that is NaN") {
    CHECK_FALSE(gradcheck([](Inputs x) { return square(x[0], [](Scalar) { return NAN; }); }, {x}).ok);
  }
  SUBCASE("that is missing") {
    const auto result = gradcheck([=](Inputs x) { return x[0] + square(x[1].detach(), right); }, {x, x});
    CHECK_FALSE(result.ok);
    CHECK(result.message.starts_with("gradient of input 1"));
  }
}

TEST_CASE("gradcheck leaves its inputs alone, and refuses one without influence unless asked for") {
  const Tensor x = tensor({1, 2}, {2});
  const auto f = [](Inputs x) { return x[0] * Scalar{3}; };
  CHECK(gradcheck(f, {x, x}).message == "input 1 (2,) has no influence on the result (allow_unused)");
  const GradcheckResult result = gradcheck(f, {x, x}, {.allow_unused = true});
  CHECK_MESSAGE(result.ok, result.message);
  CHECK(x.values() == std::vector<Scalar>{1, 2});
  CHECK_FALSE(x.needs_grad());
  CHECK(gradcheck([](Inputs) { return ones({2}); }, {x}, {.allow_unused = true}).ok);
}

TEST_CASE("gradcheck leaves parameters as they were, whatever happens, and refuses one that requires no gradient") {
  const Tensor w = tensor({3, 4}, {2}).requires_grad(), x = ones({2});
  const auto as_it_was = [&] { return w.values() == std::vector<Scalar>{3, 4} && !w.grad().defined(); };
  CHECK(gradcheck([&](Inputs x) { return x[0] * w; }, {x}, {}, {w}).ok);
  CHECK(as_it_was());
  CHECK_FALSE(gradcheck([&](Inputs) { return w * Scalar{2}; }, {x}, {}, {w}).ok);  // x has no influence
  CHECK(as_it_was());
  const auto throws = [&](Inputs x) {
    if (w.values() != std::vector<Scalar>{3, 4}) throw std::runtime_error("moved");
    return x[0] * w;
  };
  CHECK(error_of([&] { (void)gradcheck(throws, {x}, {}, {w}); }) == "moved");
  CHECK(as_it_was());
  Random random(1);
  const auto noisy = [&](Inputs x) { return x[0] * w * randn({2}, random); };
  CHECK(contains(gradcheck(noisy, {x}, {}, {w}).message, "f gives another result for the same inputs"));
  CHECK(as_it_was());
  const auto f = [](Inputs x) { return x[0] * Scalar{2}; };
  const std::string refused = "gradcheck: a parameter of shape (2,) requires no gradient";
  CHECK(error_of([&] { (void)gradcheck(f, {x}, {}, {x}); }) == refused);
  Tensor frozen = w.clone().requires_grad();
  frozen.requires_grad(false);
  CHECK(error_of([&] { (void)gradcheck(f, {x}, {}, {frozen}); }) == refused);
}
