// Solutions of the exercises in examples/tour, programs 1 to 6; those of 7 to 10 are in test_tour_models.cpp.
#include <limits>

#include "core/gradcheck.h"
#include "nn/linear.h"
#include "nn/losses.h"
#include "optim/optimizer.h"
#include "tests/testing.h"

using namespace difftensor;

namespace {
// One step of gradient descent, as a learner writes it.
void descend(const std::vector<Tensor>& parameters, Scalar rate) {
  for (Tensor p : parameters) {
    const std::vector<Scalar> gradient = p.grad().values();
    for (int64_t i = 0; i < p.numel(); ++i) p.data()[i] -= rate * gradient[i];
    p.zero_grad();
  }
}

bool near(const Tensor& a, const std::vector<Scalar>& b, double tolerance = 10 * rounding) {
  return largest_difference(a, tensor(b, a.shape())) <= tolerance;
}
}  // namespace

TEST_CASE("tour 1.1: L = (a b + c)^2 at (1, -2, 5) is 9, and its derivatives are -12, 6 and 6") {
  // The sum is s = 3 and dL/ds = 2 s = 6. So dL/da = 6 b, dL/db = 6 a, dL/dc = 6.
  Tensor a = scalar(1).requires_grad(), b = scalar(-2).requires_grad(), c = scalar(5).requires_grad();
  const Tensor s = a * b + c, L = s * s;
  L.backward();
  CHECK(L.item() == 9);
  CHECK(a.grad().item() == -12);
  CHECK(b.grad().item() == 6);
  CHECK(c.grad().item() == 6);
}

TEST_CASE("tour 1.2: x^4 - 3x^3 + 2 is lowest at 9/4") {
  // Its derivative is 4x^3 - 9x^2 = x^2 (4x - 9).
  Tensor x = scalar(1).requires_grad();
  for (int step = 0; step < 500; ++step) {
    (x * x * x * x - 3 * (x * x * x) + 2).backward();
    descend({x}, Scalar(0.01));
  }
  CHECK(std::abs(x.item() - 2.25) < 1e-5);
}

TEST_CASE("tour 2.1: six distances without a loop") {
  const Tensor points = tensor({0, 0, 3, 4, 6, 8}, {3, 2}), others = tensor({0, 0, 3, 0}, {2, 2});
  const Tensor difference = reshape(points, {3, 1, 2}) - reshape(others, {1, 2, 2});  // (3, 2, 2)
  const Tensor distances = sqrt(sum(difference * difference, 2));                     // (3, 2)
  CHECK(distances.shape() == Shape{3, 2});
  CHECK(near(distances, {0, 3, 5, 4, 10, std::sqrt(Scalar(73))}));
}

TEST_CASE("tour 2.2: the line is y = 2.3 x + 0.8") {
  const Tensor x = tensor({0, 1, 2, 3}, {4}), y = tensor({1, 3, 5, 8}, {4});
  Tensor w = scalar(0).requires_grad(), b = scalar(0).requires_grad();
  for (int step = 0; step < 1000; ++step) {
    const Tensor error = w * x + b - y;
    mean(error * error).backward();
    descend({w, b}, Scalar(0.1));
  }
  // Least squares by the book: w = sum (x - 1.5)(y - 4.25) / sum (x - 1.5)^2 = 11.5 / 5, b = 4.25 - 1.5 w.
  CHECK(std::abs(w.item() - 2.3) < 1e-5);
  CHECK(std::abs(b.item() - 0.8) < 1e-5);
}

namespace {
// log(1 + exp(x)), elementwise.
Tensor log_one_plus_exp(const Tensor& x) {
  Tensor y(x.shape());
  for (int64_t i = 0; i < x.numel(); ++i) y.data()[i] = std::log1p(std::exp(x.data()[i]));
  // dy/dx = exp(x) / (1 + exp(x)) = 1 / (1 + exp(-x)): the sigmoid.
  return record("log_one_plus_exp", y, {x}, [x = x.storage()](const Gradients& g) {
    g.add(0, [dy = g.out, x = x.data()](int64_t i) { return dy[i] / (1 + std::exp(-x[i])); });
  });
}
}  // namespace

TEST_CASE("tour 3.1: the derivative of log(1 + exp(x)) is the sigmoid") {
  Random random(1);
  Tensor x = randn({3, 4}, random).requires_grad();
  const GradcheckResult result = gradcheck([](auto& in) { return log_one_plus_exp(in[0]); }, {x});
  CHECK_MESSAGE(result.ok, result.message);
  sum(log_one_plus_exp(x)).backward();
  CHECK(largest_difference(x.grad(), sigmoid(x.detach())) <= rounding);
}

TEST_CASE("tour 3.2: two linear layers in a row are one, of weight W2 W1 and bias W2 b1 + b2") {
  Random random(1);
  const Tensor W1 = randn({5, 3}, random), b1 = randn({5}, random), W2 = randn({2, 5}, random);
  const Tensor b2 = randn({2}, random), x = randn({4, 3}, random);
  const Tensor two = linear(linear(x, W1, b1), W2, b2);
  const Tensor W = matmul(W2, W1), b = sum(W2 * b1, 1) + b2;  // W2 b1, by broadcasting
  const Tensor one = linear(x, W, b);
  CHECK(largest_difference(one, two) <= 10 * rounding);
}

namespace {
const Tensor& corners() {
  static const Tensor points = tensor({0, 0, 1, 1, 0, 1, 1, 0}, {4, 2});
  return points;
}
// The loss on the four corners after some steps.
template <class Net>
Scalar learn_corners(const Net& net, const std::vector<Tensor>& parameters) {
  const Tensor kinds = tensor({0, 0, 1, 1}, {4, 1});
  Scalar last = 0;
  for (int step = 0; step < 2000; ++step) {
    const Tensor loss = nn::binary_cross_entropy_with_logits(net(corners()), kinds);
    last = loss.item();
    loss.backward();
    descend(parameters, 1);
  }
  return last;
}
}  // namespace

TEST_CASE("tour 4.1: one layer ends at log 2 and says one half of each corner; four hidden units part them") {
  Random random(1);
  const nn::Linear line(2, 1, true, random);
  CHECK(std::abs(learn_corners(line, line.parameters()) - std::log(2.0)) < 1e-4);
  CHECK(largest_difference(sigmoid(line(corners())), full({4, 1}, Scalar(0.5))) < 1e-2);

  const nn::Linear hidden(2, 4, true, random), output(4, 1, true, random);
  std::vector<Tensor> parameters = hidden.parameters();
  for (const Tensor& p : output.parameters()) parameters.push_back(p);
  CHECK(learn_corners([&](const Tensor& x) { return output(tanh(hidden(x))); }, parameters) < 0.02);
}

TEST_CASE("tour 4.2: the optimizer of two lines is optim::SGD") {
  Random one(1), two(1), random(2);
  const nn::Linear by_hand(3, 2, true, one), by_library(3, 2, true, two);
  const Tensor x = randn({5, 3}, random);
  optim::SGD optimizer(by_library.parameters(), 0.5);
  for (int step = 0; step < 3; ++step) {
    const Tensor a = by_hand(x), b = by_library(x);
    mean(a * a).backward();
    mean(b * b).backward();
    descend(by_hand.parameters(), Scalar(0.5));
    optimizer.step();
    optimizer.zero_grad();
  }
  // To the bit, for both take the product from the parameter and round twice.
  CHECK(largest_difference(by_hand.weight, by_library.weight) == 0);
  CHECK(largest_difference(by_hand.bias, by_library.bias) == 0);
}

TEST_CASE("tour 5.1: who hesitates between two, and is right that it is one of them, has the loss log 2") {
  Tensor scores = full({2, 21}, -std::numeric_limits<Scalar>::infinity());
  for (int i : {4, 9, 21 + 4, 21 + 9}) scores.data()[i] = 7;  // any number, if it is the same
  CHECK(std::abs(cross_entropy(scores, {4, 9}).item() - std::log(2.0)) < 10 * rounding);
}

TEST_CASE("tour 5.2: the best bigram is that of the counts") {
  const std::string text = "hello hello ", letters = "helo ";
  std::vector<int32_t> ids;
  for (char c : text + text[0]) ids.push_back(static_cast<int32_t>(letters.find(c)));
  Tensor counts = zeros({5, 5});
  for (size_t i = 0; i + 1 < ids.size(); ++i) counts.data()[ids[i] * 5 + ids[i + 1]] += 1;
  const Tensor counted = counts / sum(counts, 1, true);

  const std::vector<int32_t> now(ids.begin(), ids.end() - 1), next(ids.begin() + 1, ids.end());
  Tensor table = zeros({5, 5}).requires_grad();
  for (int step = 0; step < 1000; ++step) {
    cross_entropy(embedding(table, now), next).backward();
    descend({table}, 5);
  }
  CHECK(counted.values()[2 * 5 + 2] == Scalar(0.5));  // after l comes l, or o
  CHECK(largest_difference(softmax(table.detach()), counted) < 0.01);
}

TEST_CASE("tour 6.1: with queries of 0, a causal map gives each word the mean of the values so far") {
  Random random(1);
  const Tensor k = randn({5, 2}, random), v = randn({5, 3}, random);
  const Tensor out =
      attention(zeros({5, 2}), k, v, {.heads = 1, .queries = {{0, 5}}, .keys = {{0, 5}}, .causal = true});
  for (int i = 0; i < 5; ++i)
    CHECK(largest_difference(slice(out, 0, i, i + 1), mean(slice(v, 0, 0, i + 1), 0, true)) <= rounding);
}

TEST_CASE("tour 6.2: attention knows no order; rope gives it distances, and no more") {
  Random random(1);
  const Tensor q = randn({4, 2}, random), k = randn({4, 2}, random), v = randn({4, 2}, random);
  const AttentionLayout all{.heads = 1, .queries = {{0, 4}}, .keys = {{0, 4}}, .causal = false};
  const std::vector<int32_t> shuffled{2, 0, 3, 1};
  CHECK(largest_difference(attention(q, k, v, all),
                           attention(q, gather_rows(k, shuffled), gather_rows(v, shuffled), all)) <= rounding);
  const auto scores = [&](const std::vector<int32_t>& positions) {
    return matmul(rope(q, 1, positions), rope(k, 1, positions), false, true);
  };
  CHECK(largest_difference(scores({0, 1, 2, 3}), scores({7, 8, 9, 10})) <= 10 * rounding);
  CHECK(largest_difference(scores({0, 1, 2, 3}), scores({0, 2, 4, 6})) > 0.1);
}
