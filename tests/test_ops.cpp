// The ops that are not attention's: results and gradients against PyTorch's numbers (tests/golden/ops.py), and
// what they refuse.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <set>

#include "core/elementwise.h"
#include "core/gradcheck.h"
#include "core/ops.h"
#include "core/safetensors.h"
#include "tests/testing.h"

using namespace difftensor;

namespace {
using Inputs = const std::vector<Tensor>&;

Tensor numbers(const Index& index) {
  return tensor(std::vector<Scalar>(index.values.begin(), index.values.end()), index.shape);
}
const Index places({2, 0, 1, 1, 0, 0, 2, 1}, {2, 4});
// x, but 0 in these columns of four, where it has a gradient all the same.
Tensor zeroed(const Tensor& x, const std::vector<Scalar>& columns) { return x - x.detach() * tensor(columns, {4}); }

// The names are those of tests/golden/ops.py.
const std::map<std::string, std::function<Tensor(Inputs)>>& cases() {
  static const std::map<std::string, std::function<Tensor(Inputs)>> all = {
      {"abs", [](Inputs x) { return abs(x[0]); }},
      {"sin", [](Inputs x) { return sin(x[0]); }},
      {"cos", [](Inputs x) { return cos(x[0]); }},
      {"expm1", [](Inputs x) { return expm1(x[0]); }},
      {"sign", [](Inputs x) { return sign(x[0]); }},
      {"floor", [](Inputs x) { return floor(x[0]); }},
      {"clamp", [](Inputs x) { return clamp(x[0], Scalar(-0.5), 1); }},
      {"softplus", [](Inputs x) { return softplus(x[0]); }},
      {"leaky_relu", [](Inputs x) { return leaky_relu(x[0], Scalar(0.1)); }},
      {"elu", [](Inputs x) { return elu(x[0], Scalar(1.5)); }},
      {"minimum", [](Inputs x) { return minimum(x[0], x[1]); }},
      {"eq", [](Inputs x) { return eq(x[0], flip(x[0], 0)); }},
      {"ne", [](Inputs x) { return ne(x[0], flip(x[0], 0)); }},
      {"lt", [](Inputs x) { return lt(x[0], x[1]); }},
      {"le", [](Inputs x) { return le(x[0], flip(x[0], 0)); }},
      {"gt", [](Inputs x) { return gt(x[0], x[1]); }},
      {"ge", [](Inputs x) { return ge(x[0], flip(x[0], 0)); }},
      {"min", [](Inputs x) { return min(x[0], 1); }},
      {"prod", [](Inputs x) { return prod(x[0], 0); }},
      {"prod of a zero",
       [](Inputs x) {
         return prod(zeroed(x[0], {0, 1, 0, 0}), 1, true);
       }},
      {"prod of zeros",
       [](Inputs x) {
         return prod(zeroed(x[0], {0, 1, 0, 1}), 1);
       }},
      {"var", [](Inputs x) { return var(x[0]); }},
      {"var biased",
       [](Inputs x) {
         return var(x[0], {0, 2}, true, 0);
       }},
      {"std", [](Inputs x) { return stddev(x[0], 1); }},
      {"norm", [](Inputs x) { return norm(x[0], 0); }},
      {"norm at zero",
       [](Inputs x) {
         return norm(zeroed(x[0], {0, 1, 0, 0}), 0);
       }},
      {"cumsum", [](Inputs x) { return cumsum(x[0], 1); }},
      {"logsumexp", [](Inputs x) { return logsumexp(x[0], 1); }},
      {"logsumexp keepdim", [](Inputs x) { return logsumexp(x[0], -1, true); }},
      {"softmax axis", [](Inputs x) { return along(x[0], 0, [](const Tensor& t) { return softmax(t); }); }},
      {"log_softmax axis", [](Inputs x) { return along(x[0], 1, log_softmax); }},
      {"matrix times vector", [](Inputs x) { return matmul(x[0], x[1]); }},
      {"vector times matrix", [](Inputs x) { return matmul(x[0], x[1]); }},
      {"vector times vector", [](Inputs x) { return matmul(x[0], x[1]); }},
      {"matrices times vector", [](Inputs x) { return matmul(x[0], x[1]); }},
      {"squeeze", [](Inputs x) { return squeeze(x[0], 1); }},
      {"unsqueeze", [](Inputs x) { return unsqueeze(x[0], -1); }},
      {"expand",
       [](Inputs x) {
         return expand(x[0], {2, 3, 4});
       }},
      {"split", [](Inputs x) { return split(x[0], 3, 1).at(1); }},
      {"chunk", [](Inputs x) { return chunk(x[0], 3, 1).at(2); }},
      {"unbind", [](Inputs x) { return unbind(x[0], 1).at(2); }},
      {"flip",
       [](Inputs x) {
         return flip(x[0], {0, 2});
       }},
      {"tril", [](Inputs x) { return tril(x[0], 1); }},
      {"triu", [](Inputs x) { return triu(x[0], -1); }},
      {"pad",
       [](Inputs x) {
         return pad(x[0], {1, 2, 0, 3}, Scalar(0.5));
       }},
      {"argmax", [](Inputs x) { return numbers(argmax(x[0], 1)); }},
      {"topk", [](Inputs x) { return topk(x[0], 2, 1).values; }},
      {"topk places", [](Inputs x) { return numbers(topk(x[0], 2, 0).indices); }},
      {"sort", [](Inputs x) { return sort(x[0], 0).values; }},
      {"sort descending places", [](Inputs x) { return numbers(sort(x[0], 1, true).indices); }},
      {"gather", [](Inputs x) { return gather(x[0], 0, places); }},
      {"index_select",
       [](Inputs x) {
         return index_select(x[0], 1, {3, 0, 3});
       }},
      {"scatter_add", [](Inputs x) { return scatter_add(x[0], 0, places, x[1]); }},
      {"one_hot", [](Inputs) { return one_hot(places, 4); }},
      {"unfold",
       [](Inputs x) {
         return unfold(x[0], {2, 3}, {2, 1}, {1, 2});
       }},
      {"conv2d", [](Inputs x) { return conv2d(x[0], x[1], x[2]); }},
      {"conv2d strided", [](Inputs x) { return conv2d(x[0], x[1], {}, {.stride = 2, .padding = 1, .dilation = 2}); }},
      {"conv2d groups", [](Inputs x) { return conv2d(x[0], x[1], x[2], {.padding = 1, .groups = 2}); }},
      {"conv1d", [](Inputs x) { return conv1d(x[0], x[1], x[2], {.stride = 2, .padding = 2}); }},
      {"conv1d causal depthwise",
       [](Inputs x) {
         return conv1d(pad(x[0], {2, 0}), x[1], {}, {.groups = 3});
       }},
      {"max_pool2d", [](Inputs x) { return max_pool2d(x[0], 2); }},
      {"avg_pool2d",
       [](Inputs x) {
         return avg_pool2d(pad(x[0], {1, 1, 1, 1}), 3, 2);
       }},
      {"max_pool1d",
       [](Inputs x) {
         return max_pool1d(pad(x[0], {1, 1}, -INFINITY), 3, 1);
       }},
      {"avg_pool1d", [](Inputs x) { return avg_pool1d(x[0], 2); }},
      {"arange", [](Inputs) { return arange(-1, Scalar(2.1), Scalar(0.7)); }},
      {"eye", [](Inputs) { return eye(3); }},
  };
  return all;
}

void check_close(const Tensor& found, const Tensor& expected) {
  constexpr double tolerance = sizeof(Scalar) == 8 ? 1e-13 : 3e-6;
  REQUIRE(found.defined());
  REQUIRE(found.shape() == expected.shape());
  double largest = 1;
  for (const Scalar x : expected.values()) largest = std::max(largest, std::abs(static_cast<double>(x)));
  CHECK(largest_difference(found, expected) <= tolerance * largest);
}
}  // namespace

TEST_CASE("ops give PyTorch's results and gradients") {
  const SafeTensors golden = load_safetensors("tests/golden/ops/ops.safetensors");
  std::set<std::string> tested;
  for (const auto& [key, unused] : golden.tensors) tested.insert(key.substr(0, key.rfind('.')));
  CHECK(tested.size() == cases().size());
  for (const std::string& name : tested) {
    CAPTURE(name);
    std::vector<Tensor> x;
    for (int i = 0; golden.tensors.contains(name + ".x" + std::to_string(i)); ++i)
      x.push_back(golden.tensors.at(name + ".x" + std::to_string(i)).clone().requires_grad());
    const Tensor y = cases().at(name)(x);
    check_close(y, golden.tensors.at(name + ".y"));
    const auto dy = golden.tensors.find(name + ".dy");
    CHECK((y.needs_grad() || name == "one_hot" || name == "arange" || name == "eye") == (dy != golden.tensors.end()));
    if (!y.needs_grad()) continue;
    y.backward(dy->second);
    for (size_t i = 0; i < x.size(); ++i) check_close(x[i].grad(), golden.tensors.at(name + ".dx" + std::to_string(i)));
  }
}

TEST_CASE("an op on elements is its formula and its derivative") {
  const auto cube = [](const Tensor& x) {
    return unary(
        "cube", x, [](Scalar x) { return x * x * x; }, [](Scalar dy, Scalar x, Scalar) { return dy * 3 * x * x; });
  };
  const auto hypot = [](const Tensor& a, const Tensor& b) {
    return binary(
        "hypot", a, b, [](Scalar a, Scalar b) { return std::hypot(a, b); },
        [](Scalar dc, Scalar a, Scalar b) { return dc * a / std::hypot(a, b); },
        [](Scalar dc, Scalar a, Scalar b) { return dc * b / std::hypot(a, b); });
  };
  CHECK(cube(tensor({1, -2}, {2})).values() == std::vector<Scalar>{1, -8});
  CHECK(hypot(tensor({3, 5}, {2}), tensor({4, 12}, {2, 1})).values() ==
        std::vector<Scalar>{5, std::hypot(Scalar{5}, Scalar{4}), std::hypot(Scalar{3}, Scalar{12}), 13});
  if (sizeof(Scalar) == 4) return;
  Random random(1);
  const GradcheckResult result =
      gradcheck([&](Inputs x) { return hypot(cube(x[0]), x[1]); }, {randn({3, 4}, random), randn({4}, random)});
  CHECK(result.ok);
}

TEST_CASE("ops keep what a float could lose") {
  const Scalar inf = INFINITY;
  // A variance far from 0, a product and a norm beyond a float's squares, a tail of softplus, equal logits.
  CHECK(var(tensor({1e7, 1e7 + 1, 1e7 + 2}, {3})).item() == 1);
  CHECK(norm(tensor({Scalar(3e30), Scalar(4e30)}, {2})).item() == doctest::Approx(5e30));
  CHECK(prod(tensor({Scalar(1e30), Scalar(1e30), Scalar(1e-30)}, {3})).item() == doctest::Approx(1e30));
  CHECK(softplus(tensor({-80}, {1})).item() == doctest::Approx(std::exp(-80.0)));
  CHECK(softplus(tensor({1000}, {1})).item() == 1000);
  CHECK(logsumexp(tensor({-20, -inf, 0}, {3})).item() == doctest::Approx(std::log1p(std::exp(-20.0))).epsilon(1e-6));
  CHECK(logsumexp(tensor({1e4, 1e4}, {2})).item() == Scalar(1e4 + std::log(2.0)));
  CHECK(logsumexp(tensor({-inf, -inf}, {2})).item() == -inf);
  CHECK(cumsum(full({1 << 12, 1}, Scalar(0.1)), 0).values().back() == doctest::Approx(409.6).epsilon(1e-7));
  Tensor same = full({4}, 2).requires_grad();
  stddev(same).backward();
  CHECK(same.grad().values() == std::vector<Scalar>(4, 0));
}

TEST_CASE("gradients of products and norms are right where the result has lost its digits or its range") {
  Tensor x = tensor({Scalar(1e30), Scalar(1e30), Scalar(1e-30)}, {3}).requires_grad();
  prod(x).backward(scalar(Scalar(1e-30)));  // the last one's others are 1e60
  const std::vector<double> right{1e-30, 1e-30, 1e30};
  for (int i = 0; i < 3; ++i) CHECK(x.grad().values()[i] == doctest::Approx(right[i]).epsilon(1e-6));
  if (sizeof(Scalar) == 8) return;  // what follows is in double, for floats
  const auto gradient = [](Tensor (*f)(const Tensor&), Scalar a, Scalar b) {
    Tensor x = tensor({a, b}, {2}).requires_grad();
    f(x).backward();
    return x.grad().values();
  };
  const auto length = [](const Tensor& x) { return norm(x); };
  const auto deviation = [](const Tensor& x) { return stddev(x); };
  const auto root = static_cast<Scalar>(std::sqrt(0.5));
  const Scalar least = std::numeric_limits<Scalar>::denorm_min();
  CHECK(gradient(length, least, least) == std::vector<Scalar>{root, root});
  CHECK(gradient(length, Scalar(3e38), Scalar(-3e38)) == std::vector<Scalar>{root, -root});
  CHECK(gradient(deviation, 700 * least, 2100 * least) == std::vector<Scalar>{-root, root});
  CHECK(gradient(deviation, least, 2 * least) == std::vector<Scalar>{-root, root});
}

TEST_CASE("logsumexp of infinities") {
  const Scalar inf = INFINITY;
  const Tensor x = tensor({inf, 1, inf, -inf, -inf, -inf, -inf, NAN, inf, NAN, 1, 2}, {6, 2}), y = logsumexp(x);
  for (const int64_t row : {0, 1}) CHECK(y.data()[row] == inf);
  CHECK(y.data()[2] == -inf);
  for (const int64_t row : {3, 4}) CHECK(std::isnan(y.data()[row]));
  CHECK(y.data()[5] == doctest::Approx(2 + std::log1p(std::exp(-1.0))));
}

TEST_CASE("NaN is the largest, and passes through") {
  const Scalar nan = NAN;
  const Tensor x = tensor({1, nan, 3, nan}, {4});
  CHECK(argmax(x, 0).values == std::vector<int32_t>{1});
  CHECK(sort(x).indices.values == std::vector<int32_t>{0, 2, 1, 3});
  CHECK(sort(x, 0, true).indices.values == std::vector<int32_t>{1, 3, 2, 0});
  CHECK(topk(x, 3).indices.values == std::vector<int32_t>{1, 3, 2});
  CHECK(eq(x, x).values() == std::vector<Scalar>{1, 0, 1, 0});
  CHECK(ge(x, 1).values() == std::vector<Scalar>{1, 0, 1, 0});
  for (auto f : {abs, sign, floor, softplus, sin, expm1}) CHECK(std::isnan(f(x).values()[1]));
  Tensor leaf = x.clone().requires_grad();
  sum(clamp(leaf, 0, 2)).backward();
  CHECK(std::isnan(leaf.grad().values()[1]));
  CHECK(leaf.grad().values()[2] == 0);
}

TEST_CASE("of equals the first comes first") {
  const Tensor x = tensor({2, 1, 2, 1, 2}, {5});
  CHECK(argmax(x, 0).values == std::vector<int32_t>{0});
  CHECK(topk(x, 4).indices.values == std::vector<int32_t>{0, 2, 4, 1});
  CHECK(sort(x).indices.values == std::vector<int32_t>{1, 3, 0, 2, 4});
  CHECK(sort(x, 0, true).indices.values == std::vector<int32_t>{0, 2, 4, 1, 3});
}

TEST_CASE("random whole numbers follow their distribution") {
  Random random(5);
  constexpr int draws = 60000;
  // Chi-square with so many degrees of freedom is below this 999 times in 1,000.
  const auto chi_square = [](const std::vector<double>& counts, const std::vector<double>& expected) {
    double sum = 0;
    for (size_t i = 0; i < counts.size(); ++i) sum += std::pow(counts[i] - expected[i], 2) / expected[i];
    return sum;
  };
  std::vector<double> dice(6), classes(4), first(4), orders(6);
  for (int32_t n : randint(-2, 4, {draws}, random).values) ++dice.at(n + 2);
  CHECK(chi_square(dice, std::vector<double>(6, draws / 6.0)) < 20.5);  // 5 degrees
  const Tensor p = tensor({1, 0, 2, 5}, {1, 4});
  const Index drawn = multinomial(p, draws, random, true);
  CHECK(drawn.shape == Shape{1, draws});
  for (int32_t c : drawn.values) ++classes.at(c);
  CHECK(classes[1] == 0);
  CHECK(chi_square({classes[0], classes[2], classes[3]}, {draws / 8.0, draws / 4.0, draws * 5 / 8.0}) < 13.8);
  // Without replacement: 0 then 2 comes with probability 1/8 x 2/7, and so on.
  std::map<std::vector<int32_t>, double> pairs;
  for (int i = 0; i < draws; ++i) ++pairs[multinomial(p, 2, random).values];
  std::vector<double> counts, expected;
  for (int a : {0, 2, 3})
    for (int b : {0, 2, 3})
      if (a != b) {
        const double weight_a = p.values()[a], weight_b = p.values()[b];
        counts.push_back(pairs[{a, b}]);
        expected.push_back(draws * weight_a / 8 * weight_b / (8 - weight_a));
      }
  CHECK(pairs.size() == 6);
  CHECK(chi_square(counts, expected) < 20.5);
  for (int i = 0; i < draws; ++i) {
    const std::vector<int32_t> order = randperm(3, random);
    ++orders.at(order[0] * 2 + (order[1] > order[2]));
    if (i == 0) CHECK(std::set<int32_t>(order.begin(), order.end()) == std::set<int32_t>{0, 1, 2});
  }
  CHECK(chi_square(orders, std::vector<double>(6, draws / 6.0)) < 20.5);
  double heads = 0;
  for (Scalar x : bernoulli(full({draws}, Scalar(0.25)), random).values()) heads += x;
  CHECK(std::abs(heads - draws / 4.0) < 3.3 * std::sqrt(draws * 0.25 * 0.75));
  CHECK(bernoulli(tensor({0, 1}, {2}), random).values() == std::vector<Scalar>{0, 1});
  // A seed whose first number is 2^-25, which a float's uniform of 24 bits would take for 0, below any chance.
  CHECK(Random(0x03bd72132a5dfb02).uniform_double() == 0x1p-25);
  for (const int digits : {24, 26}) {
    Random rare(0x03bd72132a5dfb02);
    CHECK(bernoulli(full({1}, std::ldexp(Scalar{1}, -digits)), rare).item() == (digits == 24));
  }
}

// An axis, as PyTorch has it there, must not be taken for a scale.
template <class T>
concept IsScale = requires(const Tensor& x, T scale) {
  softmax(x, scale);
};
static_assert(IsScale<Scalar> && IsScale<double> && !IsScale<int> && !IsScale<int64_t> && !IsScale<size_t>);

TEST_CASE("rope turns by position and width, whatever was asked for before") {
  for (const int32_t p : {3, 70, 5000, 64, 20000, 5})
    for (const int64_t d : {4, 8})
      for (const double base : {10000.0, 100.0}) {
        const Tensor y = rope(ones({1, d}), 1, {p}, base);
        for (int64_t i = 0; i < d / 2; ++i) {
          const double angle = p * std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(d));
          const double limit = 4 * std::numeric_limits<Scalar>::epsilon();
          CHECK(std::abs(y.data()[2 * i] - (std::cos(angle) - std::sin(angle))) < limit);
          CHECK(std::abs(y.data()[2 * i + 1] - (std::sin(angle) + std::cos(angle))) < limit);
        }
      }
}

TEST_CASE("ops refuse what they cannot do, and say why") {
  const Tensor x = zeros({3, 4}), image = zeros({2, 3, 5, 7});
  Random random(1);
  const int64_t most = std::numeric_limits<int64_t>::max();
  const std::vector<std::pair<std::function<void()>, std::string>> refused = {
      {[&] { clamp(x, 1, 0); }, "clamp: low 1 is above high 0"},
      {[&] {
         var(zeros({1, 4}), 0);
       },
       "var: of 1 elements, less a correction of 1, in shape (1, 4)"},
      {[&] { eq(x, zeros({3})); }, "eq: shapes (3, 4) and (3,) do not broadcast: sizes 4 and 3 at axis 1"},
      {[&] {
         logsumexp(zeros({3, 0}));
       },
       "logsumexp: axis -1 of shape (3, 0) is empty"},
      {[&] { squeeze(x, 0); }, "squeeze: axis 0 of shape (3, 4) is not of size 1"},
      {[&] { unsqueeze(x, 3); }, "unsqueeze: no axis 3 in shape (3, 4)"},
      {[&] { expand(x, {4}); }, "expand: (3, 4) does not stretch to (4,)"},
      {[&] { split(x, 0); }, "split: pieces of size 0"},
      {[&] { chunk(x, 0); }, "chunk: into 0 pieces"},
      {[&] { tril(zeros({3})); }, "tril: (3,) is not a matrix, nor several"},
      {[&] { pad(x, {1}); }, "pad: 1 widths for shape (3, 4): two are needed for each axis, the last axis first"},
      {[&] {
         pad(x, {-1, 0});
       },
       "pad: a width of -1"},
      {[&] {
         argmax(zeros({0, 3}), 0);
       },
       "argmax: axis 0 of shape (0, 3) is empty"},
      {[&] { topk(x, 5); }, "topk: 5 of axis -1 of shape (3, 4)"},
      {[&] {
         gather(x, 1, Index({0, 0}, {2, 1}));
       },
       "gather: index (2, 1) and (3, 4) differ outside axis 1"},
      {[&] {
         gather(x, 0, Index({0, 1, 2, 3}, {1, 4}));
       },
       "gather: place 3 (number 3) along axis 0 of shape (3, 4)"},
      {[&] { scatter_add(x, 0, places, zeros({4})); }, "scatter_add: index (2, 4) for a source of (4,)"},
      {[&] { one_hot(places, 2); }, "one_hot: class 2 (number 0) is outside the 2 classes"},
      {[&] {
         Index({1, 2}, {3});
       },
       "Index: 2 places for shape (3,)"},
      {[&] { randint(2, 2, {1}, random); }, "randint: no whole number from 2 to below 2"},
      {[&] {
         multinomial(tensor({1, -1}, {2}), 1, random);
       },
       "multinomial: row 0 has a probability of -1"},
      {[&] {
         multinomial(tensor({1, 0}, {2}), 2, random);
       },
       "multinomial: row 0 has no probability left for draw 1"},
      {[&] { bernoulli(tensor({2}, {1}), random); }, "bernoulli: a probability of 2"},
      {[&] {
         unfold(image, {6, 1});
       },
       "unfold: a window that reaches over 6 in (2, 3, 5, 7)"},
      {[&] {
         unfold(image, {1, 1}, {0, 1});
       },
       "unfold: size 1, stride 0 and dilation 1 must be positive"},
      {[&] {
         conv2d(image, zeros({4, 2, 1, 1}));
       },
       "conv2d: x has 3 channels in 1 groups, and the weight 2"},
      {[&] {
         conv2d(image, zeros({4, 1, 1, 1}), {}, {.groups = 2});
       },
       "conv2d: 2 groups of 3 channels, and of 4"},
      {[&] {
         conv1d(x, zeros({4, 3, 1}));
       },
       "conv1d: sequences must be (B, C, L), and weights (out, in, k), not (3, 4)"},
      {[&] {
         conv1d(ones({1, 1, 4}), ones({1, 1, 5}), {}, {.dilation = int64_t{1} << 62});
       },
       "unfold: a window of 5 elements at distances of 4611686018427387904"},
      {[&] {
         conv2d(image, zeros({4, 3, 2, 2}), {}, {.dilation = most});
       },
       "unfold: a window of 2 elements at distances of 9223372036854775807"},
      {[&] {
         conv1d(zeros({0, 1, 4}), ones({1, 1, 5}), {}, {.padding = int64_t{1} << 62});
       },
       "concat: axis 3 is too long"},
      {[&] {
         unfold(zeros({0, 1, int64_t{1} << 40, int64_t{1} << 40}), {int64_t{1} << 40, int64_t{1} << 40});
       },
       "Shape: (1, 1099511627776, 1099511627776) has too many elements"},
      {[&] { max_pool2d(image, most); }, "unfold: a window that reaches over 9223372036854775807 in (2, 3, 5, 7)"},
      {[&] {
         avg_pool1d(zeros({1, 1, 4}), 2, -1);
       },
       "unfold: size 2, stride -1 and dilation 1 must be positive"},
      {[&] {
         rope(zeros({1, 4}), 1, {3}, 0);
       },
       "rope: base 0 is not positive and finite"},
      {[&] {
         rope(zeros({1, 4}), 1, {3}, -1);
       },
       "rope: base -1 is not positive and finite"},
      {[&] {
         rope(zeros({1, 4}), 1, {3}, NAN);
       },
       "rope: base nan is not positive and finite"},
      {[&] {
         rope(zeros({1, 4}), 1, {3}, INFINITY);
       },
       "rope: base inf is not positive and finite"},
      {[&] { matmul(scalar(1), x); }, "matmul: () x (3, 4): a scalar has no axis to sum over"},
      {[&] { matmul(zeros({3}), x, true); }, "matmul: (3,) x (3, 4): a vector has no transpose"},
      {[&] { arange(0, 1, 0); }, "arange: from 0 to 1 by 0"},
  };
  for (const auto& refusal : refused) CHECK(error_of(refusal.first) == refusal.second);
  CHECK_THROWS_AS(conv1d(ones({1, 1, 4}), ones({1, 1, 5}), {}, {.padding = int64_t{1} << 61}), std::bad_alloc);
  CHECK(max_pool2d(image, 2, most).shape() == Shape{2, 3, 1, 1});  // one window, from which no step leads further
}
