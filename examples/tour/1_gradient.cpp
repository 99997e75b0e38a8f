// 1. A scalar's gradient: what autograd is, in 30 lines of its own; then the library's.
#include <cstdio>
#include <utility>
#include <vector>

#include "core/ops.h"

using namespace difftensor;

// A program that computes a number is a list of small steps. Each notes what it was made from, and how fast it grows
// with each of these: its own derivative, which is easy, for a step is a sum or a product.
struct Step {
  double value;
  std::vector<std::pair<size_t, double>> inputs;  // a step before this one, and d(this)/d(that)
  double gradient = 0;                            // d(the last step)/d(this), once backward() has come by
};
std::vector<Step> tape;

// A number that remembers the step which made it.
struct Value {
  Value(double value, std::vector<std::pair<size_t, double>> inputs = {}) : step(tape.size()) {
    tape.push_back({value, std::move(inputs)});
  }
  double value() const { return tape[step].value; }
  double gradient() const { return tape[step].gradient; }
  size_t step;
};
Value operator+(Value a, Value b) { return {a.value() + b.value(), {{a.step, 1}, {b.step, 1}}}; }
Value operator-(Value a, Value b) { return {a.value() - b.value(), {{a.step, 1}, {b.step, -1}}}; }
Value operator*(Value a, Value b) { return {a.value() * b.value(), {{a.step, b.value()}, {b.step, a.value()}}}; }
Value operator/(Value a, Value b) {
  const double quotient = a.value() / b.value();
  return {quotient, {{a.step, 1 / b.value()}, {b.step, -quotient / b.value()}}};
}
Value relu(Value a) { return {a.value() > 0 ? a.value() : 0, {{a.step, a.value() > 0}}}; }
double relu(double a) { return a > 0 ? a : 0; }

// The chain rule, from the last step to the first. When a step's turn comes, all that were made from it have had
// theirs, so its gradient is complete. It passes that on, times its own derivatives. Gradients add: whoever is used
// twice hears twice.
void backward() {
  tape.back().gradient = 1;
  for (size_t i = tape.size(); i-- > 0;)
    for (const auto& [input, derivative] : tape[i].inputs) tape[input].gradient += derivative * tape[i].gradient;
}

// The expression on the page of micrograd (github.com/karpathy/micrograd), for any kind of number.
template <class T>
T expression(const T& a, const T& b) {
  T c = a + b, d = a * b + b * b * b;
  c = c + c + 1;
  c = c + 1 + c - a;
  d = d + d * 2 + relu(b + a);
  d = d + 3 * d + relu(b - a);
  const T e = c - d, f = e * e;
  return f / 2 + 10 / f;
}

int main() {
  {
    const Value a = 2, b = 3, c = -4, product = a * b, sum = product + c, square = sum * sum;
    backward();
    std::printf("L = (a b + c)^2\nstep        value  dL/d(step)\n");
    for (const auto& [name, v] : {std::pair{"a", a}, {"b", b}, {"c", c}, {"a b", product}, {"a b + c", sum}})
      std::printf("%-10s %6g %11g\n", name, v.value(), v.gradient());
    std::printf("%-10s %6g %11g\n\n", "squared", square.value(), square.gradient());
    tape.clear();
  }

  std::printf("micrograd's expression at a = -4, b = 2:\n%33s %9s %9s\n", "g", "dg/da", "dg/db");
  {  // A derivative says how much g grows if a does. So let a grow a little, and look.
    const double h = 1e-6, g = expression(-4.0, 2.0);
    std::printf("%-24s %8.4f %9.4f %9.4f\n", "nudging a, then b", g, (expression(-4 + h, 2.0) - g) / h,
                (expression(-4.0, 2 + h) - g) / h);
  }
  {
    const Value a = -4, b = 2, g = expression(a, b);
    backward();
    std::printf("a tape of %2zu steps       %8.4f %9.4f %9.4f\n", tape.size(), g.value(), a.gradient(), b.gradient());
  }
  {
    Tensor a = scalar(-4).requires_grad(), b = scalar(2).requires_grad();
    const Tensor g = expression(a, b);
    g.backward();
    std::printf("%-24s %8.4f %9.4f %9.4f\n", "difftensor", g.item(), a.grad().item(), b.grad().item());
  }
}
