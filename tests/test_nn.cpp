// Layers: names, modes, saving and loading, and each layer against its formula. The golden files check them against
// PyTorch.

#include <cmath>

#include "core/safetensors.h"
#include "nn/diff_attention.h"
#include "nn/dropout.h"
#include "nn/embedding.h"
#include "nn/feed_forward.h"
#include "nn/losses.h"
#include "tests/testing.h"

using namespace difftensor;
using doctest::Approx;

namespace {
struct Net : nn::Module {
  nn::Linear first, second;
  nn::Dropout drop{Scalar(0.5)};
  explicit Net(Random& random) : first(3, 4, true, random), second(4, 2, false, random) {
    add_module("first", first);
    add_module("second", second);
    add_module("drop", drop);
  }
};
}  // namespace

TEST_CASE("parameters have paths") {
  Random random(1);
  Net net(random);
  std::vector<std::string> names;
  for (auto& [name, tensor] : net.named_parameters()) names.push_back(name);
  CHECK(names == std::vector<std::string>{"first.weight", "first.bias", "second.weight"});
  CHECK(net.parameter_count() == 3 * 4 + 4 + 4 * 2);
}

TEST_CASE("training and evaluation mode reach every part") {
  Random random(1);
  Net net(random);
  const Tensor x = ones({1000});
  CHECK(net.drop(x).values() != x.values());
  net.eval();
  CHECK(!net.first.training());
  CHECK(net.drop(x).values() == x.values());
}

TEST_CASE("a module saved, loaded and saved is the same; and strict about what it loads") {
  Random random(1), other(2);
  Net net(random), copy(other);
  CHECK(copy.first.weight.values() != net.first.weight.values());
  const std::string path = "/tmp/difftensor_test_nn.safetensors";
  save_safetensors(path, {net.state_dict(), {}, {}});
  copy.load_state_dict(load_safetensors(path).tensors);
  std::remove(path.c_str());
  CHECK(copy.first.weight.values() == net.first.weight.values());
  CHECK(copy.first.weight.needs_grad());

  auto state = net.state_dict();
  state.erase("first.bias");
  state["third.weight"] = zeros({1});
  state["second.weight"] = zeros({2, 5});
  CHECK(error_of([&] { copy.load_state_dict(state); }) ==
        "load_state_dict: the parameters are not this module's; missing: first.bias; unexpected: third.weight; "
        "misshapen: second.weight (2, 5) for (2, 4)");
  CHECK(copy.second.weight.values() == net.second.weight.values());
  for (int i = 0; i < 9; ++i) state["zz" + std::to_string(i)] = zeros({1});
  CHECK(contains(error_of([&] { copy.load_state_dict(state); }), "; unexpected: third.weight, zz0, zz1 and 7 more; "));
}

TEST_CASE("a name may be given once in a module") {
  struct Twice : nn::Module {
    nn::Dropout part{0};
    Twice(const char* parameter, const char* other, const char* module) {
      add_parameter(parameter, zeros({1}));
      add_parameter(other, zeros({1}));
      add_module(module, part);
    }
  };
  CHECK(error_of([] { Twice("a", "b", "c"); }) == "no error");
  CHECK(error_of([] { Twice("a", "a", "c"); }) == "Module: there are two parts named a");
  CHECK(error_of([] { Twice("a", "b", "b"); }) == "Module: there are two parts named b");
}

TEST_CASE("initial values: scale and seed") {
  Random random(1), same(1);
  nn::Linear a(300, 200, true, random), b(300, 200, true, same);
  CHECK(a.weight.values() == b.weight.values());
  const double bound = std::sqrt(6.0 / 500), variance = mean(a.weight * a.weight).item();
  CHECK(max(a.weight).item() <= bound);
  CHECK(variance == Approx(bound * bound / 3).epsilon(0.02));
  CHECK(max(a.bias).item() == 0);
  nn::Embedding e(500, 64, random);
  CHECK(mean(e.weight * e.weight).item() == Approx(1.0 / 64).epsilon(0.03));
}

TEST_CASE("feed-forward networks are their formulas") {
  Random random(3);
  const Tensor x = randn({5, 6}, random);
  nn::FeedForward gated(6, 8, nn::Activation::swiglu, random), plain(6, 8, nn::Activation::gelu, random);
  CHECK(gated.named_parameters().size() == 3);
  CHECK(plain.named_parameters().size() == 4);
  const Tensor gate = matmul(x, gated.gate_proj->weight, false, true),
               up = matmul(x, gated.up_proj.weight, false, true);
  CHECK(largest_difference(gated(x), matmul(silu(gate) * up, gated.down_proj.weight, false, true)) < rounding);
  const Tensor inner = gelu(matmul(x, plain.up_proj.weight, false, true) + plain.up_proj.bias);
  CHECK(largest_difference(plain(x), matmul(inner, plain.down_proj.weight, false, true) + plain.down_proj.bias) <
        rounding);
}

TEST_CASE("losses") {
  const Tensor logits = tensor({-200, -1, 0, 2, 200}, {5}), targets = tensor({0, 1, 1, 0, 1}, {5});
  double expected = 0;
  for (int i = 1; i < 4; ++i) {
    const double p = 1 / (1 + std::exp(-static_cast<double>(logits.data()[i])));
    expected -= targets.data()[i] > 0 ? std::log(p) : std::log(1 - p);
  }
  CHECK(nn::binary_cross_entropy_with_logits(logits, targets).item() == Approx(expected / 5));
  Tensor zero = zeros({2}).requires_grad();
  nn::binary_cross_entropy_with_logits(zero, tensor({0, 1}, {2})).backward();
  CHECK(zero.grad().values() == std::vector<Scalar>{0.25, -0.25});  // (s(0) - t) / 2
  CHECK(error_of([] {
          nn::binary_cross_entropy_with_logits(ones({2, 1}), ones({2}));
        }) == "binary_cross_entropy_with_logits: logits (2, 1) and target (2,) must have one shape");
  CHECK(nn::mse_loss(tensor({1, 2}, {2}), tensor({3, 2}, {2})).item() == 2);
  CHECK(error_of([] {
          nn::mse_loss(ones({2, 1}), ones({2}));
        }) == "mse_loss: prediction (2, 1) and target (2,) must have one shape");
}

TEST_CASE("lambda begins at lambda_init, which grows with depth") {
  Random random(1);
  nn::MultiheadDiffAttention layer({16, 2, false, 3}, random);
  CHECK(layer.lambda_init == Approx(0.8 - 0.6 * std::exp(-0.9)));
  for (Tensor* t : {&layer.lambda_q1, &layer.lambda_q2}) std::fill_n(t->data(), t->numel(), Scalar{0});
  CHECK(layer.lambda().item() == Approx(layer.lambda_init));
}

TEST_CASE("impossible attention is refused") {
  Random random(1);
  CHECK(error_of([&] {
          nn::MultiheadDiffAttention({10, 3}, random);
        }) == "Attention: width 10 does not divide by 3 heads of two maps each");
  CHECK(error_of([&] { nn::MultiheadAttention({10, 3}, random); }) == "Attention: width 10 does not divide by 3 heads");
  CHECK(error_of([&] {
          nn::MultiheadAttention({9, 3, true}, random);
        }) == "Attention: rotary positions need an even head width, not 3");
}

TEST_CASE("differential attention with lambda 0 is softmax attention") {
  Random random(5);
  const Tensor q = randn({7, 16}, random), k = randn({7, 16}, random), v = randn({7, 8}, random);
  const Spans spans = packed_spans({3, 4});
  // Two output heads; head i's first map has queries and keys 2i.
  auto first_maps = [](const Tensor& x) { return reshape(slice(reshape(x, {7, 2, 2, 4}), 2, 0, 1), {7, 8}); };
  CHECK(largest_difference(diff_attention(q, k, v, scalar(0), {2, spans, spans, true}),
                           attention(first_maps(q), first_maps(k), v, {2, spans, spans, true})) < rounding);
}
