// What a graph refuses rather than get wrong: values written between forward and backward.
#include <functional>
#include <limits>
#include <map>
#include <thread>

#include "core/kernels/packed_weights.h"
#include "core/ops.h"
#include "core/parallel_backward.h"
#include "nn/linear.h"
#include "optim/average.h"
#include "optim/optimizer.h"
#include "tests/testing.h"

using namespace difftensor;

namespace {
void write(Tensor& t) { t.data()[0] += 1; }

// Does backward() of f(a, b) refuse, having changed no gradient, when `written` (a, b or the result) was written?
template <class F>
bool refuses(F f, const char* written, bool a_needs = true, bool b_needs = true) {
  Tensor a = tensor({0.5, 1.5, 2.5, 3.5}, {2, 2}), b = tensor({1, 2, 4, 3}, {2, 2});
  if (a_needs) a.requires_grad();
  if (b_needs) b.requires_grad();
  Tensor c = f(a, b), loss = sum(c);
  write(*written == 'a' ? a : *written == 'b' ? b : c);
  const std::string error = error_of([&] { loss.backward(); });
  if (error == "no error") return false;
  CAPTURE(error);
  CHECK(contains(error, "written after the forward pass"));
  CHECK(contains(error, " reads the values of "));
  CHECK(!a.grad().defined());
  CHECK(!b.grad().defined());
  return true;
}
}  // namespace

TEST_CASE("two graphs over one weight, a step between their backward passes") {
  Tensor w = tensor({2}, {1}).requires_grad(), x = tensor({3}, {1}).requires_grad();
  optim::SGD sgd({{{w}, 0, 1}}, 0.1);
  const auto loss = [&] {
    Tensor y = w * x;
    return sum(y * y);
  };
  Tensor first = loss(), second = loss();
  first.backward();
  CHECK(x.grad().item() == 24);  // 2 w^2 x
  x.zero_grad();
  sgd.step();
  const std::string error = error_of([&] { second.backward(); });
  CHECK(contains(error, "backward: mul (1,) reads the values of parameter (1,), which were written"));
  CHECK(!x.grad().defined());
  CHECK(w.grad().item() == 36);  // what the first left
  sgd.zero_grad();
  loss().backward();  // a graph made after the write is as good as any
  CHECK(x.grad().item() == doctest::Approx(2 * w.item() * w.item() * 3));
}

TEST_CASE("several graphs before one step are right") {
  Tensor w = tensor({2}, {1}).requires_grad();
  optim::SGD sgd({{{w}, 0, 1}}, 0.1);
  Tensor a = sum(w * w), b = sum(w * w);
  a.backward();
  b.backward();
  sgd.step();
  CHECK(w.item() == doctest::Approx(2 - 0.1 * 8));
}

TEST_CASE("each op refuses for the values that its backward reads, and for no others") {
  using F = Tensor (*)(const Tensor&, const Tensor&);
  // which of a, b and the result c may not be written: if both need gradients; if only a does
  const std::map<std::string, std::tuple<F, std::string, std::string>> ops = {
      {"add", {[](auto& a, auto& b) { return a + b; }, "", ""}},
      {"sub", {[](auto& a, auto& b) { return a - b; }, "", ""}},
      {"mul", {[](auto& a, auto& b) { return a * b; }, "ab", "b"}},
      {"div", {[](auto& a, auto& b) { return a / b; }, "ab", "b"}},
      {"pow", {[](auto& a, auto& b) { return pow(a, b); }, "ab", "ab"}},
      {"maximum", {[](auto& a, auto& b) { return maximum(a, b); }, "ab", "ab"}},
      {"matmul", {[](auto& a, auto& b) { return matmul(a, b); }, "ab", "b"}},
      {"linear", {[](auto& a, auto& b) { return linear(a, b); }, "ab", "b"}},
      {"swiglu", {[](auto& a, auto& b) { return swiglu(a, b); }, "ab", "ab"}},
      {"where", {[](auto& a, auto& b) { return where(b, a, a); }, "b", "b"}},
      {"masked_fill", {[](auto& a, auto& b) { return masked_fill(a, b, 0); }, "b", "b"}},
      {"concat",
       {[](auto& a, auto& b) {
          return concat({a, b}, 0);
        },
        "", ""}},
      {"exp", {[](auto& a, auto&) { return exp(a); }, "c", "c"}},
      {"sqrt", {[](auto& a, auto&) { return sqrt(a); }, "c", "c"}},
      {"tanh", {[](auto& a, auto&) { return tanh(a); }, "a", "a"}},
      {"sigmoid", {[](auto& a, auto&) { return sigmoid(a); }, "ac", "ac"}},
      {"softmax", {[](auto& a, auto&) { return softmax(a); }, "c", "c"}},
      {"log_softmax", {[](auto& a, auto&) { return log_softmax(a); }, "c", "c"}},
      {"log", {[](auto& a, auto&) { return log(a); }, "a", "a"}},
      {"relu", {[](auto& a, auto&) { return relu(a); }, "a", "a"}},
      {"gelu", {[](auto& a, auto&) { return gelu(a); }, "a", "a"}},
      {"silu", {[](auto& a, auto&) { return silu(a); }, "a", "a"}},
      {"pow 2", {[](auto& a, auto&) { return pow(a, 2); }, "a", "a"}},
      {"max", {[](auto& a, auto&) { return max(a, {0}); }, "ac", "ac"}},
      {"a + 1", {[](auto& a, auto&) { return a + Scalar{1}; }, "", ""}},
      {"2 a", {[](auto& a, auto&) { return a * Scalar{2}; }, "", ""}},
      {"sum", {[](auto& a, auto&) { return sum(a, {0}); }, "", ""}},
      {"mean", {[](auto& a, auto&) { return mean(a, {0}); }, "", ""}},
      {"reshape", {[](auto& a, auto&) { return reshape(a, {4}); }, "", ""}},
      {"transpose", {[](auto& a, auto&) { return transpose(a, 0, 1); }, "", ""}},
      {"slice", {[](auto& a, auto&) { return slice(a, 0, 0, 1); }, "", ""}},
      {"embedding",
       {[](auto& a, auto&) {
          return embedding(a, {1, 0});
        },
        "", ""}},
      {"dropout", {[](auto& a, auto&) { return dropout(a, 0.5); }, "", ""}},
      {"rope",
       {[](auto& a, auto&) {
          return rope(a, 1, {0, 1});
        },
        "", ""}},
      {"cross_entropy",
       {[](auto& a, auto&) {
          return cross_entropy(a, {0, 1});
        },
        "a", "a"}},
      {"linear_cross_entropy",
       {[](auto& a, auto& b) {
          return linear_cross_entropy(a, b, {0, 1});
        },
        "", ""}},
      {"layer_norm",
       {[](auto& a, auto& b) { return layer_norm(a, reshape(slice(b, 0, 0, 1), {2}), ones({2})); }, "a", "a"}},
      {"rms_norm", {[](auto& a, auto& b) { return rms_norm(a, reshape(slice(b, 0, 0, 1), {2})); }, "a", "a"}},
      {"attention",
       {[](auto& a, auto& b) {
          return attention(a, b, b, {1, {{0, 2}}, {{0, 2}}, false});
        },
        "ab", "ab"}},
  };
  for (auto& entry : ops)
    for (const char* written : {"a", "b", "c"})
      for (bool both : {true, false}) {
        CAPTURE(entry.first);
        CAPTURE(written);
        CAPTURE(both);
        auto& [f, if_both, if_a] = entry.second;
        CHECK(refuses(f, written, true, both) == contains(both ? if_both : if_a, written));
      }
}

TEST_CASE("every way to write a parameter is seen, under its name, also through a handle that shares its values") {
  Random random(1);
  struct Net : nn::Module {
    explicit Net(Random& random)
        : first(add_module<nn::Linear>("first", 2, 2, false, random)),
          second(add_module<nn::Linear>("second", 2, 2, false, random)) {}
    nn::Linear &first, &second;
  } net(random);
  const Tensor x = ones({3, 2});
  const auto state = net.state_dict();
  Tensor weight = net.second.named_parameters()[0].second;
  optim::ParameterAverage average;
  average.add(state);
  std::map<std::string, std::function<void()>> writes = {
      {"load_state_dict", [&] { net.load_state_dict(state); }},
      {"an average", [&] { net.load_state_dict(average.mean()); }},
      {"data", [&] { weight.data()[0] = 1; }},
      {"a handle outside the graph", [&] { weight.detach().data()[0] = 1; }},
      {"a handle of another shape", [&] { reshape(weight.detach(), {4}).data()[0] = 1; }},
      {"a storage", [&] { Storage(weight.storage()).data()[0] = 1; }},
      {"another thread", [&] { std::thread([&] { weight.data()[0] = 1; }).join(); }},
      {"another optimizer", [&] {
         sum(weight).backward();
         optim::AdamW({{{weight}, 0, 1}}, 0.1).step();
         weight.zero_grad();
       }}};
  for (auto& entry : writes) {
    CAPTURE(entry.first);
    Tensor loss = sum(net.second(net.first(x)));
    entry.second();
    CHECK(contains(error_of([&] { loss.backward(); }),
                   "linear (3, 2) reads the values of parameter second.weight (2, 2)"));
    for (auto& parameter : net.parameters()) CHECK(!parameter.grad().defined());
    sum(net.second(net.first(x))).backward();
    net.zero_grad();
  }
  // Nobody reads the first weight: x needs no gradient. And reading is no writing.
  Tensor loss = sum(net.second(net.first(x)));
  net.first.named_parameters()[0].second.data()[0] = 2;
  (void)net.state_dict();
  (void)weight.values();
  const Tensor& constant = weight;
  (void)constant.data();
  loss.backward();
}

TEST_CASE("an op from outside is taken to read its inputs and its result, unless it says") {
  Tensor x = tensor({3}, {1}).requires_grad();
  const auto square = [&] {
    return record("square", x.detach() * x.detach(), {x}, [v = x.storage()](const Gradients& g) {
      g.add(0, [dy = g.out, v = v.data()](int64_t i) { return 2 * dy[i] * v[i]; });
    });
  };
  Tensor y = square();
  write(x);
  CHECK(contains(error_of([&] { y.backward(); }), "square (1,)"));
  y = square();
  y.backward();
  CHECK(x.grad().item() == 8);
}

TEST_CASE("an array handed to two gradients, or held by somebody else, is not shared by them") {
  Tensor a = ones({2}).requires_grad(), b = ones({2}).requires_grad();
  Tensor y = record("both", zeros({2}), {a, b}, [](const Gradients& g) {
    Storage ones(2);
    std::fill_n(ones.data(), 2, Scalar{1});
    g.add(0, ones);
    g.add(1, ones);
  });
  sum(y).backward();
  a.grad().data()[0] = 7;
  CHECK(b.grad().values() == std::vector<Scalar>{1, 1});
}

TEST_CASE("packed copies of a weight that was written are packed again") {
  kernels::PackedWeights weights;
  const kernels::PackedWeights::Scope scope(weights);
  Tensor w = ones({1, 1}).requires_grad();
  w.node()->name = "weight";  // as a module's has; others are not packed
  const Tensor x = ones({1, 1});
  CHECK(linear(x, w).item() == 1);
  w.data()[0] = 5;
  CHECK(linear(x, w).item() == 5);
}

TEST_CASE("leaves that a program makes on its way are not held") {
  kernels::PackedWeights weights;
  const kernels::PackedWeights::Scope scope(weights);
  const Tensor x = ones({1, 300});
  const auto bytes_after_use = [&] {
    {
      const Tensor w = ones({300, 300}).requires_grad();
      sum(linear(x, w)).backward();
    }
    return allocator_stats().bytes_in_use;
  };
  const size_t once = bytes_after_use();  // what kernels work with is there then
  CHECK(bytes_after_use() == once);
}

TEST_CASE("parallel_backward refuses too, and its parts are right after writes before it") {
  Tensor w = tensor({2}, {1}).requires_grad();
  write(w);
  parallel_backward(4, [&](int64_t i) { sum(w * w * Scalar(i)).backward(); });
  CHECK(w.grad().item() == 2 * 3 * 6);
  w.zero_grad();
  CHECK(contains(error_of([&] {
                   parallel_backward(1, [&](int64_t) {
                     Tensor loss = sum(w * w);
                     write(w);
                     loss.backward();
                   });
                 }),
                 "written after the forward pass"));
  CHECK(!w.grad().defined());
}
