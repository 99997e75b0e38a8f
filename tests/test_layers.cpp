// examples/layers: each gradient-checked, compared with its definition or a property of it, and trained on something
// small.
#include <doctest/doctest.h>

#include <cmath>
#include <utility>

#include "core/gradcheck.h"
#include "core/parallel_backward.h"
#include "examples/layers/biased_attention.h"
#include "examples/layers/conv_net.h"
#include "examples/layers/gated_residual.h"
#include "examples/layers/grouped_query.h"
#include "examples/layers/lstm.h"
#include "examples/layers/mixture_of_experts.h"
#include "examples/layers/optimizers.h"
#include "examples/layers/training_aids.h"
#include "models/decode.h"
#include "models/transformer.h"
#include "nn/dropout.h"
#include "tests/testing.h"

using namespace difftensor;
using namespace layers;

namespace {
void check_gradients(const nn::Module& module, const std::function<Tensor(const std::vector<Tensor>&)>& f,
                     const std::vector<Tensor>& inputs) {
  if (sizeof(Scalar) == 4) return;
  const GradcheckResult result = nn::gradcheck(module, f, inputs);
  CHECK_MESSAGE(result.ok, result.message);
}

// The loss after so many updates.
Scalar train(optim::Optimizer& optimizer, int updates, const std::function<Tensor()>& loss) {
  for (int i = 0; i < updates; ++i) {
    optimizer.zero_grad();
    loss().backward();
    optimizer.step();
  }
  const NoGrad no_grad;
  return loss().item();
}

// What a recurrent network says at the end of a sequence: was its first element above 0?
template <class Recurrent>
Scalar learns_to_remember(Random& random) {
  struct Net : nn::Module {
    explicit Net(Random& random)
        : memory(add_module<Recurrent>("memory", 1, 8, random)),
          out(add_module<nn::Linear>("out", 8, 2, true, random)) {}
    Recurrent& memory;
    nn::Linear& out;
  } net(random);
  const Tensor x = randn({12, 32, 1}, random);
  std::vector<int32_t> first;
  for (int64_t b = 0; b < 32; ++b) first.push_back(x.values()[b] > 0);
  optim::Adam optimizer(net.parameters(), 0.03);
  return train(optimizer, 120, [&] { return cross_entropy(net.out(unbind(net.memory(x), 0).back()), first); });
}
}  // namespace

TEST_CASE("layers: LSTM and GRU compute their formulas, and remember") {
  Random random(1);
  const LSTM lstm(3, 4, random);
  const GRU gru(3, 4, random);
  const Tensor x = randn({5, 2, 3}, random);
  check_gradients(lstm, [&](auto& in) { return lstm(in[0]); }, {x});
  check_gradients(gru, [&](auto& in) { return gru(in[0]); }, {x});
  // One step from zero, by hand.
  const auto step = unbind(slice(x, 0, 0, 1), 0)[0];
  const auto a = chunk(lstm.input(step), 4, -1);
  CHECK(largest_difference(unbind(lstm(x), 0)[0], sigmoid(a[3]) * tanh(sigmoid(a[0]) * tanh(a[2]))) < rounding);
  const auto b = chunk(gru.input(step), 3, -1), c = chunk(gru.recurrent(zeros({2, 4})), 3, -1);
  CHECK(largest_difference(unbind(gru(x), 0)[0],
                           (1 - sigmoid(b[1] + c[1])) * tanh(b[2] + sigmoid(b[0] + c[0]) * c[2])) < rounding);
  CHECK(learns_to_remember<LSTM>(random) < 0.1);
  CHECK(learns_to_remember<GRU>(random) < 0.1);
}

TEST_CASE("layers: batch norm keeps running statistics, and a conv net tells bars apart") {
  Random random(2);
  BatchNorm2d norm(3);
  const Tensor x = randn({4, 3, 2, 2}, random) * 3 + 5;
  check_gradients(norm, [&](auto& in) { return norm(in[0]); }, {x});
  BatchNorm2d fresh(3);
  const Tensor y = fresh(x);
  CHECK(largest_difference(mean(y, {0, 2, 3}), zeros({3})) < rounding);
  CHECK(largest_difference(var(y, {0, 2, 3}, false, 0), ones({3})) < 1e-4);
  CHECK(largest_difference(fresh.running_mean, reshape(mean(x, {0, 2, 3}) * Scalar(0.1), {3, 1, 1})) < rounding);
  CHECK(largest_difference(fresh.running_var, reshape(var(x, {0, 2, 3}) * Scalar(0.1) + Scalar(0.9), {3, 1, 1})) <
        10 * rounding);
  fresh.eval();
  const std::vector<Scalar> kept = fresh.running_mean.values();
  CHECK(largest_difference(fresh(x), (x - fresh.running_mean) / sqrt(fresh.running_var + Scalar(1e-5))) < rounding);
  CHECK(fresh.running_mean.values() == kept);
  CHECK(fresh.state_dict().contains("running_var"));

  // Horizontal or vertical, somewhere in noise.
  const auto bars = [&](int64_t n) {
    std::pair<Tensor, std::vector<int32_t>> made{randn({n, 1, 8, 8}, random, Scalar(0.3)), {}};
    for (int64_t b = 0; b < n; ++b) {
      made.second.push_back(static_cast<int32_t>(random.below(2)));
      const auto at = static_cast<int64_t>(random.below(8));
      for (int64_t i = 0; i < 8; ++i) made.first.data()[b * 64 + (made.second.back() ? at * 8 + i : i * 8 + at)] += 1;
    }
    return made;
  };
  ConvNet net(1, 2, random);
  check_gradients(net, [&](auto& in) { return net(in[0]); }, {randn({2, 1, 8, 8}, random)});
  optim::Adam optimizer(net.parameters(), 0.01);
  const auto shown = bars(64), others = bars(200);
  train(optimizer, 40, [&] { return cross_entropy(net(shown.first), shown.second); });
  net.eval();
  const NoGrad no_grad;
  int right = 0;
  const Index said = argmax(net(others.first), 1);
  for (size_t i = 0; i < others.second.size(); ++i) right += said.values[i] == others.second[i];
  CHECK(right > 180);
}

TEST_CASE("layers: batch norm is right where the mean is large beside the spread, as layer norm is") {
  const Tensor values = tensor({Scalar(1e8), Scalar(1e8 + 8), Scalar(1e8 + 8), Scalar(1e8 + 24)}, {1, 1, 2, 2});
  const Tensor seed = tensor({1, -2, 3, 5}, {1, 1, 2, 2});
  BatchNorm2d norm(1);
  Tensor x = values.clone().requires_grad();
  const Tensor y = norm(x);
  y.backward(seed);
  const double rstd = 1 / std::sqrt(76 + 1e-5);  // the mean is 1e8 + 10, which no float is
  const std::vector<double> offsets{-10, -2, -2, 14};
  double mean_un = 0;
  for (int i = 0; i < 4; ++i) mean_un += seed.values()[i] * offsets[i] * rstd / 4;
  for (int i = 0; i < 4; ++i) {
    CHECK(y.values()[i] == doctest::Approx(offsets[i] * rstd).epsilon(rounding));
    const double dx = rstd * (seed.values()[i] - 1.75 - offsets[i] * rstd * mean_un);
    CHECK(x.grad().values()[i] == doctest::Approx(dx).epsilon(rounding));
  }
}

TEST_CASE("layers: batch norm counts a batch once, and refuses parts of one") {
  Random random(12);
  const Tensor values = randn({4, 2, 3, 3}, random);
  std::vector<std::vector<Scalar>> results[2];
  for (const bool checkpointed : {false, true}) {
    BatchNorm2d norm(2);
    Tensor x = values.clone().requires_grad();
    const auto twice = [&](const Tensor& t) {
      return checkpointed ? checkpoint([&](const Tensor& u) { return norm(u) * u; }, t) : norm(t) * t;
    };
    // A checkpoint within another computes its part three times.
    const Tensor y = checkpointed ? checkpoint(twice, x) : twice(x);
    const auto running = norm.running_mean.values();
    sum(y * y).backward();
    CHECK(norm.running_mean.values() == running);
    for (const Tensor& t : {y, x.grad(), norm.weight.grad(), norm.running_mean, norm.running_var})
      results[checkpointed].push_back(t.values());
  }
  CHECK(results[0] == results[1]);

  BatchNorm2d norm(2);
  for (const int threads : {1, 2}) {
    const Threads some(threads);
    const auto run = [&] { parallel_backward(3, [&](int64_t) { sum(norm(values)).backward(); }); };
    norm.train();
    CHECK(error_of(run) == "BatchNorm2d: in training it needs the whole batch: not inside parallel_backward()");
    norm.eval();
    CHECK(error_of(run) == "no error");
  }
  CHECK(norm.running_mean.values() == std::vector<Scalar>{0, 0});
  norm.train();
  CHECK(error_of([&] { norm(values); }) == "no error");  // after it, all is as before
}

TEST_CASE("layers: a mixture of all experts is their weighted sum, and one of a few learns") {
  Random random(3);
  const MixtureOfExperts all(4, 6, 3, 3, random), few(4, 6, 3, 2, random);
  const Tensor x = randn({7, 4}, random);
  const Tensor p = softmax(all.router(x));
  Tensor sum_of_all = zeros({7, 4});
  for (int e = 0; e < 3; ++e) sum_of_all = sum_of_all + all.experts[e](x) * slice(p, 1, e, e + 1);
  CHECK(largest_difference(all(x).y, sum_of_all) < rounding);
  check_gradients(few, [&](auto& in) { return sum(few(in[0]).y * few(in[0]).y) + few(in[0]).balance; }, {x});
  CHECK(few(x).balance.item() >= Scalar(0.9));
  // Two experts, one each for two different functions of x.
  const MixtureOfExperts two(4, 8, 2, 1, random);
  const Tensor in = randn({64, 4}, random);
  const Tensor want = where(gt(slice(in, 1, 0, 1), 0), in * 2, flip(in, 1) * -1);
  optim::Adam optimizer(two.parameters(), 0.01);
  const Scalar before = mean(pow(two(in).y - want, 2)).item();
  CHECK(train(optimizer, 300, [&] {
          const auto made = two(in);
          return mean(pow(made.y - want, 2)) + made.balance * Scalar(0.01);
        }) < before / 4);
}

TEST_CASE("layers: a gated residual begins nearly closed and opens") {
  Random random(4);
  using Layer = GatedResidual<nn::FeedForward>;
  const Layer layer(4, -4, random, 4, 8, nn::Activation::swiglu, random);
  const Tensor x = randn({6, 4}, random);
  check_gradients(layer, [&](auto& in) { return layer(in[0]); }, {x});
  CHECK(largest_difference(layer(x), x) < 0.2);
  CHECK(layer.parameters().size() == 5);
  const Tensor want = x + tanh(x) * 2;
  optim::Adam optimizer(layer.parameters(), 0.02);
  CHECK(train(optimizer, 200, [&] { return mean(pow(layer(x) - want, 2)); }) < 0.05);
}

TEST_CASE("layers: attentions of one's own are their definitions") {
  Random random(5);
  const nn::AttentionConfig c{.width = 8, .heads = 4, .rotary = true};
  const nn::Sequences two = nn::packed_sequences({5, 3});
  const Tensor x = randn({8, 8}, random);
  const auto run = [&](const nn::Attention& attention) { return attention(x, two, x, two, true); };

  // As many groups as heads, or a window as long as the sentence: softmax attention.
  Random a(7), b(7), d(7);
  const nn::MultiheadAttention softmax_attention(c, a);
  CHECK(largest_difference(run(GroupedQueryAttention(c, 4, b)), run(softmax_attention)) < rounding);
  const SlidingWindowAttention wide(c, 5, 0, d);
  CHECK(largest_difference(run(wide), run(softmax_attention)) < rounding);

  // Two groups are four heads in two pairs that have the same keys and values.
  const GroupedQueryAttention grouped(c, 2, random);
  CHECK(grouped.k_proj.weight.shape() == Shape{4, 8});
  nn::MultiheadAttention whole(c, random);
  auto state = grouped.state_dict();
  for (const char* name : {"k_proj.weight", "v_proj.weight"}) {
    const Tensor heads = reshape(state.at(name), {2, 1, 2, 8});
    state.at(name) = reshape(concat({heads, heads}, 1), {8, 8});
  }
  whole.load_state_dict(state);
  CHECK(largest_difference(run(grouped), run(whole)) < rounding);

  // A token sees no further than its window; the rest is as in softmax attention among what it sees.
  const SlidingWindowAttention narrow(c, 2, 0, random);
  const Tensor changed = concat({slice(x, 0, 0, 2) * 3, slice(x, 0, 2, 8)}, 0);
  const Tensor before = run(narrow), after = narrow(changed, two, changed, two, true);
  CHECK(largest_difference(slice(before, 0, 3, 8), slice(after, 0, 3, 8)) == 0);
  CHECK(largest_difference(slice(before, 0, 2, 3), slice(after, 0, 2, 3)) > 1e-3);
  // But each sees the first one, if that is a sink.
  const SlidingWindowAttention rested(c, 2, 1, random);
  const Tensor other = concat({slice(x, 0, 0, 1) * 3, slice(x, 0, 1, 8)}, 0);
  CHECK(largest_difference(slice(run(rested), 0, 4, 5), slice(rested(other, two, other, two, true), 0, 4, 5)) > 1e-3);

  // ALiBi: of equal scores, a head's weights fall as exp(-slope distance).
  const AlibiAttention alibi({.width = 2, .heads = 1}, random);
  for (const Tensor& w : {alibi.q_proj.weight, alibi.k_proj.weight})
    std::fill_n(Tensor(w).data(), w.numel(), Scalar{0});
  for (const Tensor& w : {alibi.v_proj.weight, alibi.out_proj.weight})
    std::copy_n(eye(2).values().begin(), 4, Tensor(w).data());
  const nn::Sequences three = nn::packed_sequences({3});
  const Tensor seen = alibi(tensor({1, 0, 0, 1, 0, 0}, {3, 2}), three, tensor({1, 0, 0, 1, 0, 0}, {3, 2}), three, true);
  const double slope = std::exp2(-8.0), total = std::exp(-2 * slope) + std::exp(-slope) + 1;
  CHECK(seen.values()[4] == doctest::Approx(std::exp(-2 * slope) / total));
  CHECK(seen.values()[5] == doctest::Approx(std::exp(-slope) / total));

  for (const nn::Attention* attention :
       {static_cast<const nn::Attention*>(&grouped), static_cast<const nn::Attention*>(&narrow)})
    check_gradients(*attention, [&](auto& in) { return (*attention)(in[0], two, in[0], two, true); }, {x});
}

TEST_CASE("layers: a biased attention loses nothing beside a large score that all keys share") {
  struct Alibi : AlibiAttention {
    using AlibiAttention::AlibiAttention;
    using AlibiAttention::mix;
  };
  Random random(13);
  const Alibi attention({.width = 3, .heads = 1}, random);
  // Scores of 1e7, 1e7 + 1 and 1e7 + 2. The query stands with the last key, whose bias is 0; the others' is less.
  const Tensor q = ones({1, 3}), v = eye(3);
  const Tensor k = tensor({Scalar(1e7), 0, 0, Scalar(1e7), 1, 0, Scalar(1e7), 2, 0}, {3, 3});
  for (const bool causal : {false, true}) {
    const Tensor seen = attention.mix({}, q, k, v, {1, {{0, 1}}, {{0, 3}}, causal});
    double p[3], total = 0;
    for (int j = 0; j < 3; ++j) total += p[j] = std::exp(j / std::sqrt(3.0) - std::exp2(-8.0) * (2 - j));
    for (int j = 0; j < 3; ++j) CHECK(seen.values()[j] == doctest::Approx(p[j] / total).epsilon(rounding));
  }
  // A key in the future has a larger one still, but takes no part. And the first of four queries sees no key at all.
  const Tensor later = concat({k, tensor({Scalar(1e15), 0, 0}, {1, 3})}, 0), four = ones({4, 3});
  const Tensor among = attention.mix({}, four, later, concat({v, ones({1, 3})}, 0), {1, {{0, 4}}, {{0, 4}}, true});
  const Tensor alone = attention.mix({}, q, k, v, {1, {{0, 1}}, {{0, 3}}, true});
  CHECK(largest_difference(slice(among, 0, 2, 3), alone) < rounding);
  const Tensor before = attention.mix({}, four, k, v, {1, {{0, 4}}, {{0, 3}}, true});
  CHECK(slice(before, 0, 0, 1).values() == std::vector<Scalar>{0, 0, 0});
  CHECK(largest_difference(slice(before, 0, 3, 4), alone) < rounding);
  // A sentence without keys.
  CHECK(attention.mix({}, q, slice(k, 0, 0, 0), slice(v, 0, 0, 0), {1, {{0, 1}}, {{0, 0}}, true}).values() ==
        std::vector<Scalar>{0, 0, 0});
}

TEST_CASE("layers: attentions of one's own work in a Transformer, and in its cache") {
  const auto factories = std::vector<models::AttentionFactory>{
      [](const nn::AttentionConfig& c, bool, Random& random) -> std::unique_ptr<nn::Attention> {
        return std::make_unique<GroupedQueryAttention>(c, 1, random);
      },
      [](const nn::AttentionConfig& c, bool cross, Random& random) -> std::unique_ptr<nn::Attention> {
        if (cross) return std::make_unique<nn::MultiheadAttention>(c, random);
        return std::make_unique<SlidingWindowAttention>(c, 3, 1, random);
      },
      [](const nn::AttentionConfig& c, bool cross, Random& random) -> std::unique_ptr<nn::Attention> {
        if (cross) return std::make_unique<nn::MultiheadAttention>(c, random);
        return std::make_unique<AlibiAttention>(c, random);
      },
  };
  for (const auto& factory : factories) {
    models::TransformerConfig config;
    config.vocab = 12, config.d_model = 16, config.heads = 2, config.ff = 24;
    config.encoder_layers = config.decoder_layers = 1;
    config.attention_factory = factory;
    Random random(6);
    models::Transformer model(config, random);
    optim::AdamW optimizer(model.parameters(), 0.02);
    // Two sentences to learn by heart.
    const auto loss = [&] {
      return model.loss({5, 6, 7, 2, 8, 9, 2}, {4, 3}, {1, 7, 6, 5, 1, 9, 8}, {4, 3}, {7, 6, 5, 2, 9, 8, 2});
    };
    CHECK(train(optimizer, 60, loss) < 0.1);
    model.eval();
    const NoGrad no_grad;
    const auto found = models::decode(model, {{5, 6, 7, 2}, {8, 9, 2}});
    CHECK(found[0].at(0).tokens == std::vector<int32_t>{7, 6, 5});
    CHECK(found[1].at(0).tokens == std::vector<int32_t>{9, 8});
  }
}

TEST_CASE("layers: Lion and Muon do as they say, and go on from a saved state") {
  Random random(8);
  Tensor w = tensor({1, -2, 3}, {3}).requires_grad();
  Lion lion(std::vector<optim::ParameterGroup>{{{w}, 0.1}}, 0.01);
  sum(w * tensor({5, -1, 0}, {3})).backward();
  lion.step();
  const std::vector<double> expected = {1 - 0.01 * 1.1, -2 + 0.01 * 1.2, 3 - 0.01 * 0.3};
  for (int i = 0; i < 3; ++i) CHECK(w.values()[i] == doctest::Approx(expected[i]));

  // All singular values of a step lie near 1, however unlike those of the gradient are.
  for (const Shape& shape : {Shape{6, 4}, Shape{3, 5}, Shape{4, 4}}) {
    const Tensor m = randn(shape, random) * 7;
    const Tensor o = Muon::orthogonalised(m);
    const Tensor square = shape[0] > shape[1] ? matmul(o, o, true) : matmul(o, o, false, true);
    CHECK(largest_difference(square, eye(square.dim(0))) < 0.6);
    CHECK(sum(o * m).item() > 0);
  }
  CHECK(error_of([&] { Muon(std::vector<Tensor>{w}, 0.1); }) == "Muon: (3,) is no matrix");
  const Tensor target = randn({6, 4}, random);
  for (int saved : {-1, 20}) {
    Tensor a = zeros({6, 4}).requires_grad();
    auto optimizer = std::make_unique<Muon>(std::vector<Tensor>{a}, 0.1);
    for (int i = 0; i < 60; ++i) {
      if (i == saved) {
        auto other = std::make_unique<Muon>(std::vector<Tensor>{a}, 0.1);
        other->load_state_dict(optimizer->state_dict());
        optimizer = std::move(other);
      }
      if (i == 40) optimizer->set_lr(0.01);
      optimizer->zero_grad();
      sum(pow(a - target, 2)).backward();
      optimizer->step();
    }
    CHECK(sum(pow(a - target, 2)).item() < sum(target * target).item() / 10);
    static std::vector<Scalar> first;
    if (saved < 0) first = a.values();
    CHECK(a.values() == first);
  }
}

TEST_CASE("layers: Lion and Muon pass a NaN on, and refuse settings that make no sense") {
  Tensor w = ones({2}).requires_grad();
  Lion lion(std::vector<Tensor>{w}, 0.1, 0.9, 0.9999);
  sum(w * tensor({NAN, 1}, {2})).backward();
  lion.step();
  CHECK(std::isnan(w.values()[0]));
  CHECK(w.values()[1] == Scalar(0.9));
  CHECK(lion.state_dict().at("m.0").values()[1] == Scalar(1 - 0.9999));
  w.data()[0] = 1;
  lion.zero_grad();
  sum(w).backward();
  lion.step();
  CHECK(std::isnan(w.values()[0]));  // the momentum is NaN for ever
  CHECK(error_of([&] { Lion(std::vector<Tensor>{w}, 1, NAN); }) == "Lion: beta nan is not in [0, 1)");
  CHECK(error_of([&] { Lion(std::vector<Tensor>{w}, 1, 0.9, -5); }) == "Lion: beta -5 is not in [0, 1)");
  CHECK(error_of([&] { Lion(std::vector<Tensor>{w}, 1, 0.9, 1); }) == "Lion: beta 1 is not in [0, 1)");

  Tensor matrix = ones({2, 2}).requires_grad();
  Muon muon(std::vector<Tensor>{matrix}, 0.1);
  sum(matrix * tensor({NAN, 1, 1, 1}, {2, 2})).backward();
  muon.step();
  for (const Scalar x : matrix.values()) CHECK(std::isnan(x));
  CHECK(error_of([&] { Muon(std::vector<Tensor>{matrix}, 1, NAN); }) ==
        "Muon: momentum nan is negative or not a number");
  CHECK(error_of([&] { Muon(std::vector<Tensor>{matrix}, 1, -1); }) == "Muon: momentum -1 is negative or not a number");
}

TEST_CASE("layers: a moving average goes all the way") {
  struct One : nn::Module {
    One() : w(add_parameter("w", zeros({1}))) {}
    const Tensor w;
  } model;
  MovingAverage average(model, 0.9999);
  Tensor(model.w).data()[0] = 1;
  for (int i = 0; i < 100'000; ++i) average.update(model);
  CHECK(average.state().at("w").item() == doctest::Approx(1 - std::pow(0.9999, 100'000)).epsilon(1e-6));
  for (const double decay : {-0.1, 1.0, double(NAN)})
    CHECK_THROWS_AS(MovingAverage(model, decay), std::invalid_argument);
}

TEST_CASE("layers: a checkpoint refuses if f is another function by the time of backward()") {
  struct Block : nn::Module {
    explicit Block(Random& random)
        : linear(add_module<nn::Linear>("linear", 3, 3, false, random)),
          drop(add_module<nn::Dropout>("drop", Scalar(0.5))) {}
    Tensor operator()(const Tensor& x) const { return drop(exp(linear(x))); }
    nn::Linear& linear;
    nn::Dropout& drop;
  };
  Random random(10);
  Random of_its_own(11);
  bool draws = false;
  const std::string another = "checkpoint: computed again in backward(), f gives another result";
  const std::string written = "which were written after the forward pass";
  const auto error_after = [&](const std::function<void(Block&, optim::Optimizer&, Tensor & x, Tensor & y)>& change) {
    Block block(random);
    optim::SGD optimizer(block.parameters(), 0.1);
    sum(block(ones({1, 3}))).backward();  // for a step to take
    Tensor x = randn({4, 3}, random).requires_grad();
    const auto f = [&](const Tensor& t) { return draws ? block(t) * rand({3}, of_its_own) : block(t); };
    Tensor y = checkpoint(f, x), loss = sum(y);
    block.zero_grad();
    change(block, optimizer, x, y);
    const std::string error = error_of([&] { loss.backward(); });
    CHECK(x.grad().defined() == (error == "no error"));
    CHECK(block.linear.weight.grad().defined() == (error == "no error"));
    return error;
  };
  CHECK(error_after([](auto&...) {}) == "no error");
  CHECK(contains(error_after([](Block& block, auto& optimizer, auto&...) {
                   sum(block(ones({1, 3}))).backward();
                   optimizer.step();
                   block.zero_grad();
                 }),
                 another));
  CHECK(contains(error_after([](Block& block, auto&...) {
                   Random another_random(9);
                   block.load_state_dict(Block(another_random).state_dict());
                 }),
                 another));
  CHECK(contains(error_after([](Block& block, auto&...) { block.eval(); }), another));
  CHECK(contains(error_after([](auto&, auto&, Tensor& x, auto&) { x.data()[0] += 1; }), written));
  CHECK(contains(error_after([](auto&, auto&, auto&, Tensor& y) { y.data()[0] += 1; }), written));
  draws = true;
  CHECK(contains(error_after([](auto&...) {}), another));
}

TEST_CASE("layers: checkpoints in parts of a batch on several threads") {
  Random random(1);
  const nn::Linear layer(8, 8, true, random);
  const auto part = [&](int64_t i) {
    Random own(i + 1);
    const Tensor x = randn({3 + i, 8}, own);
    const Tensor h = checkpoint([&](const Tensor& t) { return tanh(layer(t)); }, layer(x));
    sum(h * h).backward();
  };
  layer.zero_grad();
  for (int64_t i = 0; i < 6; ++i) part(i);
  const Tensor one_by_one = layer.weight.grad();
  std::vector<Scalar> first;
  for (const int threads : {1, 2, 2, 5}) {
    const Threads some(threads);
    layer.zero_grad();
    parallel_backward(6, part);
    const Tensor gradient = layer.weight.grad();
    CHECK(largest_difference(gradient, one_by_one) < 1e-4);
    if (first.empty()) first = gradient.values();
    CHECK(gradient.values() == first);
  }
}

TEST_CASE("layers: what a checkpoint's f reads is given to it, or refused") {
  const Tensor w = ones({3}).requires_grad();
  const auto run = [&](const auto& checkpointed) {
    w.zero_grad();
    const Tensor x = full({3}, 3).requires_grad(), memory = w * 2;  // used elsewhere, too
    sum(memory * 5 + checkpointed(x, memory) * w).backward();
    return std::vector{w.grad().values(), x.grad().values()};
  };
  const auto f = [&](const Tensor& t, const Tensor& m) { return t * m * w; };
  const auto plain = run(f);
  CHECK(plain[0] == std::vector<Scalar>(3, 28));  // d(10 w + 3 2 w w w)/dw
  const auto given = [&](const Tensor& x, const Tensor& memory) {
    return checkpoint([&](const std::vector<Tensor>& t) { return f(t[0], t[1]); }, std::vector<Tensor>{x, memory});
  };
  CHECK(run(given) == plain);
  const auto captured = [&](const Tensor& x, const Tensor& memory) {
    return checkpoint([&](const Tensor& t) { return f(t, memory); }, x);
  };
  const std::string refused = "checkpoint: f captured the result of mul (3,)";
  CHECK(contains(error_of([&] { run(captured); }), refused));
  // Within another checkpoint, what its f has made is given or captured, too.
  const auto twice = [&](const auto& inner) {
    return [&](const Tensor& x, const Tensor& memory) {
      return checkpoint([&](const std::vector<Tensor>& t) { return inner(t[0] * 1, t[1] * 1); },
                        std::vector<Tensor>{x, memory});
    };
  };
  CHECK(run(twice(given)) == plain);
  CHECK(contains(error_of([&] { run(twice(captured)); }), refused));
  // Its values alone may be captured, and so may anything where no gradient is asked for.
  CHECK(run([&](const Tensor& x, const Tensor& memory) {
          return checkpoint([&, m = memory.detach()](const Tensor& t) { return f(t, m); }, x);
        })[1] == plain[1]);
  const NoGrad scope;
  const Tensor m = [&] {
    const EnableGrad inner;
    return w * 2;
  }();
  CHECK(captured(ones({3}), m).values() == std::vector<Scalar>(3, 2));
}

TEST_CASE("layers: a checkpoint under NoGrad, of what needs no gradient, and if f throws") {
  const auto gradient = [](const auto& f, bool checkpointed) {
    const Tensor x = tensor({0.5, -1, 2}, {3}).requires_grad();
    const Tensor loss = sum((checkpointed ? checkpoint(f, x) : f(x)) + x);
    const NoGrad scope;
    loss.backward();
    return x.grad().values();
  };
  const auto smooth = [](const Tensor& t) { return tanh(t); };
  CHECK(gradient(smooth, true) == gradient(smooth, false));
  CHECK(gradient([](const Tensor& t) { return t.detach() * 2; }, true) == std::vector<Scalar>(3, 1));

  manual_seed(3);
  bool fails = false;
  const Tensor x = ones({3}).requires_grad();
  const Tensor loss = sum(checkpoint(
      [&](const Tensor& t) {
        const Tensor y = dropout(t, Scalar(0.5));
        require(!fails, "f", "fails");
        return y;
      },
      x));
  const uint64_t next = Random(default_random()).bits();
  fails = true;
  CHECK(error_of([&] { loss.backward(); }) == "f: fails");
  CHECK(Random(default_random()).bits() == next);
}

TEST_CASE("layers: a schedule, a moving average and a checkpoint") {
  const auto lr = warmup_stable_decay(1, 10, 20, 100);
  CHECK(std::vector<double>{lr(1), lr(5), lr(10), lr(80), lr(90), lr(100), lr(101)} ==
        std::vector<double>{0.1, 0.5, 1, 1, 0.5, 0, 0});
  const auto level = warmup_stable_decay(1, 0, 0, 10);
  CHECK(std::vector<double>{level(0), level(10), level(11)} == std::vector<double>{1, 1, 1});
  CHECK_THROWS_AS(warmup_stable_decay(1, 5, 6, 10), std::invalid_argument);
  Random random(9);
  BatchNorm2d norm(1);
  MovingAverage average(norm, 0.75);
  Tensor(norm.weight).data()[0] = 5;
  Tensor(norm.running_mean).data()[0] = 3;
  average.update(norm);
  CHECK(average.state().at("weight").item() == 2);
  CHECK(average.state().at("running_mean").item() == 3);

  // The same gradients, of the parameters too, with dropout; and less memory.
  const nn::FeedForward one(8, 64, nn::Activation::gelu, random), two(8, 64, nn::Activation::gelu, random);
  const auto block = [&](const Tensor& x) { return two(dropout(one(x), Scalar(0.5))); };
  const Tensor values = randn({512, 8}, random);
  std::vector<std::vector<Scalar>> results[2];
  size_t memory[2];
  for (int checkpointed : {0, 1}) {
    manual_seed(3);
    const size_t before = allocator_stats().bytes_in_use;
    Tensor x = values.clone().requires_grad();
    Tensor y = checkpointed ? checkpoint(block, x) : block(x);
    memory[checkpointed] = allocator_stats().bytes_in_use - before;
    const uint64_t next = Random(default_random()).bits();
    sum(y * y).backward();
    CHECK(Random(default_random()).bits() == next);
    results[checkpointed] = {y.values(), x.grad().values()};
    for (const nn::FeedForward* part : {&one, &two})
      for (const Tensor& p : part->parameters()) {
        results[checkpointed].push_back(p.grad().values());
        p.zero_grad();
      }
  }
  CHECK(results[0] == results[1]);
  CHECK(memory[1] < memory[0] / 4);
}
