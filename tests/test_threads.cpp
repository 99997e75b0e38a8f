// What runs on several threads at once, small enough for ThreadSanitizer: `make tsan` builds this file with it. In the
// ordinary builds the same tests compare bits.
#include <array>
#include <functional>
#include <thread>

#include "core/ops.h"
#include "core/parallel_backward.h"
#include "models/decode.h"
#include "optim/optimizer.h"
#include "tests/testing.h"

using namespace difftensor;

namespace {
models::TransformerConfig tiny(models::AttentionKind attention) {
  models::TransformerConfig c;
  c.vocab = 23, c.d_model = 16, c.heads = 2, c.ff = 24, c.encoder_layers = c.decoder_layers = 1;
  c.attention = attention;
  return c;
}

const std::vector<std::vector<int32_t>> sources = {{5, 6, 7, 2}, {9, 2}, {4, 4, 8, 10, 2}, {11, 12, 2}};

// Three updates, each of four parts at once, then translations by beam search. Returns all weights.
std::vector<Scalar> train(models::AttentionKind attention) {
  Random random(1);
  models::Transformer model(tiny(attention), random);
  optim::AdamW optimizer({{model.parameters(), 0.01, 1}}, 0.01);
  for (int update = 0; update < 3; ++update) {
    model.zero_grad();
    parallel_backward(4, [&](int64_t i) {
      manual_seed(i);
      const auto length = static_cast<int64_t>(sources[i].size());
      std::vector<int32_t> target(sources[i]);
      target.insert(target.begin(), 1);
      target.pop_back();
      cross_entropy(model(sources[i], {length}, target, {length}), sources[i]).backward();
    });
    optimizer.step();
  }
  model.eval();
  models::DecodeOptions options;
  options.beam = 3, options.batch_size = 1;
  CHECK(models::decode(model, sources, options).size() == sources.size());
  std::vector<Scalar> weights;
  for (auto& parameter : model.parameters())
    for (Scalar x : parameter.values()) weights.push_back(x);
  return weights;
}
}  // namespace

TEST_CASE("two trainings in one process, at once, have the bits of one alone") {
  for (auto attention : {models::AttentionKind::softmax, models::AttentionKind::diff}) {
    const std::vector<Scalar> alone = train(attention);
    std::array<std::vector<Scalar>, 2> both;
    std::thread first([&] { both[0] = train(attention); }), second([&] { both[1] = train(attention); });
    first.join();
    second.join();
    CHECK(both[0] == alone);
    CHECK(both[1] == alone);
  }
}

TEST_CASE("ops that cut their loops among threads") {
  Random random(1);
  Tensor x = randn({300, 200}, random).requires_grad(), w = randn({200, 200}, random).requires_grad();
  Tensor gain = ones({200}).requires_grad(), bias = zeros({200}).requires_grad();
  for (int i = 0; i < 2; ++i) {
    Tensor y = layer_norm(gelu(linear(x, w, bias)), gain, bias);
    y = rms_norm(softmax(y) * y + dropout(y, Scalar(0.1)), gain);
    sum(attention(y, y, y, {4, packed_spans({100, 200}), packed_spans({100, 200}), true})).backward();
  }
  CHECK(x.grad().defined());
  std::vector<int> done(100'000);
  parallel_for(100'000, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) ++done[i];
  });
  CHECK(done == std::vector<int>(100'000, 1));
  CHECK_THROWS(parallel_for(100'000, [](int64_t, int64_t) { throw std::runtime_error("all pieces"); }));
}

TEST_CASE("blocks of memory, freed on other threads than asked for them") {
  std::array<Storage, 64> blocks;
  for (int round = 0; round < 4; ++round) {
    std::vector<std::thread> threads;
    for (size_t t = 0; t < 4; ++t)
      threads.emplace_back([&blocks, t, round] {
        for (size_t i = 0; i < 16; ++i) {
          Storage& block = blocks[i * 4 + (t + round) % 4];
          block = Storage(1000 + 10 * static_cast<int64_t>(i));
          std::fill_n(block.data(), block.size(), Scalar(t));
        }
      });
    for (auto& thread : threads) thread.join();
  }
  CHECK(allocator_stats().blocks_in_use >= 64);
}
