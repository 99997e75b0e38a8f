// Layers: names, modes, saving and loading, and each layer against its formula. The golden files check them against
// PyTorch.

#include <cmath>

#include "core/safetensors.h"
#include "nn/diff_attention.h"
#include "nn/dropout.h"
#include "nn/embedding.h"
#include "nn/feed_forward.h"
#include "nn/losses.h"
#include "optim/clip.h"
#include "optim/optimizer.h"
#include "tests/testing.h"

using namespace difftensor;
using doctest::Approx;

namespace {
struct Net : nn::Module {
  explicit Net(Random& random)
      : first(add_module<nn::Linear>("first", 3, 4, true, random)),
        second(add_module<nn::Linear>("second", 4, 2, false, random)),
        drop(add_module<nn::Dropout>("drop", Scalar(0.5))) {}
  nn::Linear &first, &second;
  nn::Dropout& drop;
};

// A batch norm's running mean, of x (N, D).
struct RunningMean : nn::Module {
  explicit RunningMean(int64_t width) : mean(add_buffer("mean", zeros({width}))), seen(add_buffer("seen", zeros({}))) {}
  Tensor operator()(const Tensor& x) const {
    if (training()) {
      Tensor into = mean, count = seen;
      const Tensor now = difftensor::mean(x.detach(), 0);
      for (int64_t i = 0; i < into.numel(); ++i) into.data()[i] += Scalar(0.1) * (now.values()[i] - mean.values()[i]);
      count.data()[0] += 1;
    }
    return x - mean;
  }
  const Tensor mean, seen;
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
  const TemporaryFolder folder;
  const std::string path = folder / "net.safetensors";
  save_safetensors(path, {net.state_dict(), {}, {}});
  copy.load_state_dict(load_safetensors(path).tensors);
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
    Twice(const char* parameter, const char* other, const char* module) {
      add_parameter(parameter, zeros({1}));
      add_buffer(other, zeros({1}));
      add_module<nn::Dropout>(module, Scalar(0));
    }
  };
  CHECK(error_of([] { Twice("a", "b", "c"); }) == "no error");
  CHECK(error_of([] { Twice("a", "a", "c"); }) == "Module: there are two parts named a");
  CHECK(error_of([] { Twice("a", "b", "b"); }) == "Module: there are two parts named b");
  // The parameter "c.weight" would be saved under the name of c's own.
  for (const char* name : {"", "c.weight", "."}) {
    const std::string error =
        "Module: a part cannot be named \"" + std::string(name) + "\": a name has a letter at least, and no dot";
    CHECK(error_of([&] { Twice(name, "b", "c"); }) == error);
    CHECK(error_of([&] { Twice("a", name, "c"); }) == error);
    CHECK(error_of([&] { Twice("a", "b", name); }) == error);
  }
}

TEST_CASE("a tied weight counts, is clipped and is saved once, under its first name") {
  struct Tied : nn::Module {
    explicit Tied(Random& random)
        : embedding(add_module<nn::Embedding>("embedding", 5, 3, random)),
          output(add_parameter("output", embedding.weight)) {}
    Tensor operator()(const std::vector<int32_t>& ids) const { return linear(embedding(ids), output); }
    nn::Embedding& embedding;
    const Tensor output;
  };
  Random random(1);
  Tied model(random);
  CHECK(model.parameters().size() == 1);
  CHECK(model.named_parameters()[0].first == "output");
  CHECK(model.state_dict().size() == 1);
  sum(model({1, 2})).backward();
  const double norm = std::sqrt(static_cast<double>(sum(pow(model.output.grad(), 2)).item()));
  CHECK(optim::clip_grad_norm(model.parameters(), 1) == Approx(norm));
  optim::AdamW(model.parameters(), 0.1).step();
  CHECK(model.embedding.weight.values() == model.output.values());
}

TEST_CASE("a layer that was made without add_module is named by the check of the first loss") {
  struct Forgetful : nn::Module {
    explicit Forgetful(Random& random)
        : known(add_module<nn::Linear>("known", 3, 3, false, random)), forgotten(3, 2, true, random) {}
    Tensor operator()(const Tensor& x) const { return sum(forgotten(known(x))); }
    nn::Linear& known;
    nn::Linear forgotten;
  };
  Random random(1);
  Forgetful net(random);
  const Tensor x = ones({1, 3});
  CHECK(contains(error_of([&] { net.check_registered(net(x)); }), "the loss depends on "));
  CHECK(contains(error_of([&] { net.check_registered(net(x)); }), "that is no parameter of this module"));
  CHECK(error_of([&] { net.check_registered(sum(net.known(x))); }) == "no error");
}

TEST_CASE("buffers are saved and loaded, and not trained") {
  RunningMean a(2), b(2);
  a(tensor({1, 2, 3, 4}, {2, 2}));
  CHECK(a.parameters().empty());
  CHECK(a.named_buffers().size() == 2);
  CHECK(a.mean.values()[1] == Approx(0.3));
  b.load_state_dict(a.state_dict());
  CHECK(b.mean.values() == a.mean.values());
  CHECK(b.seen.item() == 1);
  a.eval();
  a(tensor({1, 2, 3, 4}, {2, 2}));
  CHECK(a.seen.item() == 1);
  struct Wrong : nn::Module {
    Wrong() { add_buffer("trained", ones({1}).requires_grad()); }
  };
  CHECK(contains(error_of([] { Wrong(); }), "add_buffer: trained requires a gradient"));
}

TEST_CASE("a state that does not fit can be loaded in part") {
  Random random(1), other(2);
  Net net(random), copy(other);
  auto state = net.state_dict();
  state.erase("first.bias");
  state["third.weight"] = zeros({1});
  const auto before = copy.second.weight.values();
  copy.load_state_dict(state, /*strict=*/false);
  CHECK(copy.first.weight.values() == net.first.weight.values());
  state["second.weight"] = zeros({2, 5});
  CHECK(contains(error_of([&] { copy.load_state_dict(state, false); }), "misshapen: second.weight (2, 5) for (2, 4)"));
}

TEST_CASE("what is frozen gets no gradient and does not move; what learns again does, under its name") {
  Random random(1);
  Net net(random);
  net.eval();
  net.first.requires_grad(false);
  const auto before = net.first.weight.values();
  optim::AdamW optimizer(net.parameters(), 0.1);
  const auto step = [&] {
    sum(net.second(net.first(ones({1, 3})))).backward();
    optimizer.step();
    optimizer.zero_grad();
  };
  step();
  CHECK(net.first.weight.values() == before);
  CHECK(!net.first.weight.is_parameter());
  net.requires_grad(true);
  CHECK(net.first.weight.node()->name == "first.weight");
  step();
  CHECK(net.first.weight.values() != before);
}

TEST_CASE("a frozen weight that is tied stays frozen") {
  struct Tied : nn::Module {
    explicit Tied(const Tensor& weight) : weight(add_parameter("weight", weight)) {}
    const Tensor weight;
  };
  Random random(1);
  Net net(random);
  net.first.requires_grad(false);
  Tied tied(net.first.weight);
  CHECK(net.first.weight.is_frozen());
  CHECK_FALSE(tied.weight.is_parameter());
  CHECK(tied.named_parameters().size() == 1);
  tied.requires_grad(true);
  CHECK(net.first.weight.is_parameter());
  CHECK_FALSE(net.first.weight.is_frozen());
  CHECK(Tied(ones({2})).weight.is_parameter());
}

TEST_CASE("a module frozen between forward and backward has its gradients when it learns again") {
  Random random(1);
  Net net(random);
  net.eval();
  const Tensor loss = sum(net.second(net.first(ones({1, 3}))));
  net.requires_grad(false);
  net.requires_grad(true);
  loss.backward();
  for (const auto& entry : net.named_parameters()) {
    CHECK(entry.second.grad().defined());
    CHECK(entry.second.node()->name == entry.first);
  }
}

TEST_CASE("a layer's gradcheck moves its own parameters, and names what is wrong or unused") {
  // y = W x with a weight gradient 1,000 times too large: W's part of it is the factor that backward sees.
  struct Wrong : nn::Module {
    explicit Wrong(Scalar factor) : factor(factor), weight(add_parameter("weight", ones({2, 3}))) {}
    Tensor operator()(const Tensor& x) const { return linear(x, weight * factor - (weight * (factor - 1)).detach()); }
    const Scalar factor;
    const Tensor weight;
  };
  Random random(1);
  const std::vector<Tensor> x{randn({4, 3}, random)};
  Wrong right(1), wrong(1000);
  const auto check = [&](const Wrong& layer) {
    return gradcheck(
        layer, [&](auto& in) { return layer(in[0]); }, x);
  };
  CHECK_MESSAGE(check(right).ok, check(right).message);
  CHECK(!check(wrong).ok);
  CHECK(contains(check(wrong).message, "gradient of weight (2, 3) at"));
  CHECK(!right.weight.grad().defined());
  // f that uses the module's handles where it should use its input is refused.
  const auto ignores = [&](auto&) { return right(x[0]); };
  CHECK(gradcheck(right, ignores, x).message == "input 0 (4, 3) has no influence on the result (allow_unused)");
  CHECK(gradcheck(right, ignores, x, {.allow_unused = true}).ok);
  // Inputs may require gradients, as PyTorch's gradcheck wants them to.
  const Tensor learns = x[0].clone().requires_grad();
  const auto uses = [&](auto& in) { return right(in[0]); };
  CHECK(gradcheck(right, uses, {learns}).ok);
  CHECK(!learns.grad().defined());
}

TEST_CASE("modules by path, lists and sequences of them") {
  Random random(1);
  nn::Sequential net;
  net.add<nn::Linear>(3, 4, true, random);
  net.add([](const Tensor& x) { return relu(x); });
  nn::Linear& last = net.add<nn::Linear>(4, 2, false, random);
  std::vector<std::string> names;
  for (auto& [name, tensor] : net.named_parameters()) names.push_back(name);
  CHECK(names == std::vector<std::string>{"0.weight", "0.bias", "2.weight"});
  const Tensor x = randn({5, 3}, random);
  const auto modules = net.named_modules();
  REQUIRE(modules.size() == 3);
  CHECK(modules[0] == std::pair<std::string, nn::Module*>("", &net));
  CHECK(modules[2] == std::pair<std::string, nn::Module*>("2", &last));
  CHECK(net(x).values() == last(relu(static_cast<nn::Linear&>(*modules[1].second)(x))).values());

  nn::ModuleList<nn::Linear> list;
  for (int i = 0; i < 3; ++i) list.add(2, 2, false, random);
  CHECK(list.size() == 3);
  CHECK(list.named_parameters()[2].first == "2.weight");
  int64_t count = 0;
  for (const auto* layer : list) count += layer->weight.numel();
  CHECK(count == list.parameter_count());
  CHECK_THROWS(list[3]);
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
  for (Tensor t : {layer.lambda_q1, layer.lambda_q2}) std::fill_n(t.data(), t.numel(), Scalar{0});
  CHECK(layer.lambda().item() == Approx(layer.lambda_init));
}

TEST_CASE("attention refuses sentences that are not the tokens there are") {
  Random random(1);
  const nn::MultiheadAttention layer({.width = 4, .heads = 2}, random);
  const Tensor x = randn({4, 4}, random);
  const auto two = nn::packed_sequences({2}), four = nn::packed_sequences({3, 1});
  CHECK(layer(x, four, x, four, false).dim(0) == 4);
  CHECK(error_of([&] { layer(x, two, x, two, false); }) == "Attention: x (4, 4) with sentences of 2 tokens in all");
  CHECK(error_of([&] { layer.attend(x, two, layer.keys_values(x, four), false); }) ==
        "Attention: x (4, 4) with sentences of 2 tokens in all");
}

TEST_CASE("impossible attention is refused") {
  Random random(1);
  CHECK(error_of([&] {
          nn::MultiheadDiffAttention({10, 3}, random);
        }) == "Attention: width 10 is not divisible by 3 heads of two maps each");
  CHECK(error_of([&] {
          nn::MultiheadAttention({10, 3}, random);
        }) == "Attention: width 10 is not divisible by 3 heads");
  CHECK(error_of([&] {
          nn::MultiheadAttention({9, 3, true}, random);
        }) == "Attention: rotary positions need an even head width, not 3");
  // Twice as many heads as an int holds.
  CHECK(error_of([&] {
          nn::MultiheadDiffAttention({32, 2147483647}, random);
        }) == "Attention: width 32 is not divisible by 2147483647 heads of two maps each");
  const Tensor x = ones({1, 4});
  const AttentionLayout layout{2147483647, {{0, 1}}, {{0, 1}}, false};
  CHECK(error_of([&] { plain_diff_attention(x, x, x, scalar(0), layout); }) ==
        "split_heads: (1, 4) in 4294967294 heads");
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
