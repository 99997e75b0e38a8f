// The Transformer as a whole: what may see what, batches, and learning.
#include <cmath>
#include <cstring>
#include <map>

#include "models/transformer.h"
#include "optim/clip.h"
#include "optim/optimizer.h"
#include "tests/small_model.h"
#include "tests/testing.h"

using namespace difftensor;
using models::AttentionKind;
using models::Style;

namespace {

const std::vector<int32_t> source{5, 6, 7, 2, 9, 2, 4, 4, 8, 10, 2}, target{1, 11, 12, 1, 13, 14, 15, 1, 16};
const std::vector<int64_t> source_lengths{4, 2, 5}, target_lengths{3, 4, 2};

}  // namespace

TEST_CASE("a target sees no later target, a sentence no other sentence") {
  every_model([](const models::TransformerConfig& config) {
    Random random(1);
    models::Transformer model(config, random);
    const Tensor logits = model(source, source_lengths, target, target_lengths);
    std::vector<int32_t> changed = target;
    changed[5] = 20;  // the third token of the second sentence
    const Tensor after = model(source, source_lengths, changed, target_lengths);
    for (int64_t row = 0; row < 9; ++row) {
      const double difference = largest_difference(slice(logits, 0, row, row + 1), slice(after, 0, row, row + 1));
      CAPTURE(row);
      if (row == 5 || row == 6)
        CHECK(difference > 1e-4);
      else
        CHECK(difference == 0);
    }
    std::vector<int32_t> other = source;
    other[4] = 3;  // in the second source: changes the second sentence, and it alone, from its first token on
    const Tensor cross = model(other, source_lengths, target, target_lengths);
    for (int64_t row = 0; row < 9; ++row) {
      const double difference = largest_difference(slice(logits, 0, row, row + 1), slice(cross, 0, row, row + 1));
      CHECK((difference > 1e-6) == (row >= 3 && row < 7));
    }
  });
}

TEST_CASE("a stack that is causal without cross-attention never sees the future, all at once or token by token") {
  every_model([](const models::TransformerConfig& config) {
    Random random(5);
    models::TransformerStack stack(config, 2, models::language_model_role, random);
    for (auto& [name, parameter] : stack.named_parameters()) CHECK(!contains(name, "cross"));
    NoGrad no_grad;
    const nn::Sequences sentences = nn::packed_sequences({5, 5});
    const Tensor x = randn({10, config.d_model}, random);
    const Tensor out = stack(x, sentences, {}, nullptr);
    Tensor changed = x.clone();
    for (int64_t i = 0; i < config.d_model; ++i) changed.data()[2 * config.d_model + i] += Scalar(i % 3);
    const Tensor after = stack(changed, sentences, {}, nullptr);
    for (int64_t row = 0; row < 10; ++row) {
      CAPTURE(row);
      const double difference = largest_difference(slice(out, 0, row, row + 1), slice(after, 0, row, row + 1));
      CHECK((difference > 1e-4) == (row >= 2 && row < 5));  // from the changed token to the end of its sentence
      if (row < 2 || row >= 5) CHECK(difference == 0);
    }

    std::vector<models::KeyValueCache> caches;
    for (int layer = 0; layer < 2; ++layer) caches.emplace_back(2, 5);
    for (int32_t i = 0; i < 5; ++i) {
      nn::Sequences one = nn::packed_sequences({1, 1});
      one.positions = {i, i};
      const Tensor step = stack(gather_rows(x, {i, 5 + i}), one, {}, &caches);
      CHECK(largest_difference(step, gather_rows(out, {i, 5 + i})) < rounding);
    }
  });
}

TEST_CASE("a sentence alone and in a batch gives the same numbers") {
  every_model([](const models::TransformerConfig& config) {
    Random random(2);
    models::Transformer model(config, random);
    const Tensor together = model(source, source_lengths, target, target_lengths);
    int64_t s = 0, t = 0;
    for (size_t i = 0; i < source_lengths.size(); ++i) {
      const std::vector<int32_t> one(source.begin() + s, source.begin() + s + source_lengths[i]);
      const std::vector<int32_t> to(target.begin() + t, target.begin() + t + target_lengths[i]);
      const Tensor alone = model(one, {source_lengths[i]}, to, {target_lengths[i]});
      CHECK(largest_difference(alone, slice(together, 0, t, t + target_lengths[i])) < rounding);
      s += source_lengths[i], t += target_lengths[i];
    }
  });
}

TEST_CASE("every model overfits one batch, leaks no node, and repeats bit for bit at any number of threads") {
  const std::vector<int32_t> expected{11, 12, 2, 13, 14, 15, 2, 16, 2};
  every_model([&](models::TransformerConfig config) {
    config.dropout = Scalar(0.05);
    std::vector<std::vector<Scalar>> runs;
    for (int n : {1, 2, 3}) {
      const Threads threads(n);
      Random random(3);
      models::Transformer model(config, random);
      optim::AdamW optimizer({{model.parameters(), 0.01}}, 0.01, {0.9, 0.98, 1e-8});
      const int64_t nodes = live_nodes();
      for (int step = 1; step <= 80; ++step) {
        manual_seed(1, step);
        cross_entropy(model(source, source_lengths, target, target_lengths), expected).backward();
        optim::clip_grad_norm(model.parameters(), 1);
        optimizer.step();
        optimizer.zero_grad();
      }
      CHECK(live_nodes() == nodes);
      model.eval();
      const Tensor loss = cross_entropy(model(source, source_lengths, target, target_lengths), expected);
      CHECK(loss.item() < 0.05);
      runs.push_back({loss.item()});
      for (auto& parameter : model.parameters())
        runs.back().insert(runs.back().end(), parameter.data(), parameter.data() + parameter.numel());
    }
    CHECK(runs[0] == runs[1]);
    CHECK(runs[0] == runs[2]);
  });
}

TEST_CASE("token by token with a cache is the same as all at once") {
  every_model([](const models::TransformerConfig& config) {
    Random random(4);
    models::Transformer model(config, random);
    NoGrad no_grad;
    const std::vector<int32_t> words{1, 7, 9, 3, 5};
    const nn::Sequences from = nn::packed_sequences(source_lengths);
    const Tensor memory = model.encode(source, from);
    const auto keys_values = model.memory_keys_values(memory, from);
    std::vector<models::KeyValueCache> caches;
    for (int layer = 0; layer < config.decoder_layers; ++layer) caches.emplace_back(3, 5);
    std::vector<Tensor> steps;  // all three sentences get the same words
    for (int32_t i = 0; i < 5; ++i) {
      // A copy of the last hypothesis, dropped again: select() must carry the caches along.
      steps.push_back(model.step({words[i], words[i], words[i]}, i, keys_values, caches));
      for (auto& cache : caches) {
        cache.select({2, 1, 0, 0});
        cache.select({2, 1, 0});
      }
    }
    std::vector<int32_t> all;
    for (int b = 0; b < 3; ++b) all.insert(all.end(), words.begin(), words.end());
    const Tensor once = model.decode(all, nn::packed_sequences({5, 5, 5}), memory, from);
    for (int64_t b = 0; b < 3; ++b)
      for (int64_t i = 0; i < 5; ++i)
        CHECK(largest_difference(slice(steps[i], 0, b, b + 1), slice(once, 0, b * 5 + i, b * 5 + i + 1)) < rounding);
  });
}

TEST_CASE("hypotheses that share their beginning go on by themselves") {
  every_model([](const models::TransformerConfig& config) {
    Random random(5);
    models::Transformer model(config, random);
    NoGrad no_grad;
    const std::vector<int32_t> from{5, 6, 7, 2};
    const nn::Sequences source = nn::packed_sequences({4});
    const Tensor memory = model.encode(from, source);
    auto keys_values = model.memory_keys_values(memory, source);
    std::vector<models::KeyValueCache> caches;
    for (int layer = 0; layer < config.decoder_layers; ++layer) caches.emplace_back(1, 6);
    // At each step some hypotheses are dropped, some doubled; their number grows, shrinks and grows again.
    const std::vector<std::vector<int32_t>> parents{{0}, {0, 0, 0}, {2, 0, 2, 1}, {3, 3}, {1, 0, 0, 1, 0}, {4, 2, 1}};
    std::vector<std::vector<int32_t>> written{{}};
    for (int32_t step = 0; step < 6; ++step) {
      const std::vector<int32_t>& chosen = parents[step];
      for (auto& cache : caches) cache.select(chosen);
      for (auto& memory_of_layer : keys_values) memory_of_layer.spans.assign(chosen.size(), {0, 4});
      std::vector<std::vector<int32_t>> next;
      std::vector<int32_t> words;
      for (size_t b = 0; b < chosen.size(); ++b) {
        next.push_back(written[chosen[b]]);
        next.back().push_back(words.emplace_back(static_cast<int32_t>(3 + (5 * step + 2 * b) % 9)));
      }
      written = next;
      const Tensor out = model.step(words, step, keys_values, caches);
      for (size_t b = 0; b < chosen.size(); ++b) {
        const Tensor once = model.decode(written[b], nn::packed_sequences({step + 1}), memory, source);
        const auto row = static_cast<int64_t>(b);
        CHECK(largest_difference(slice(out, 0, row, row + 1), slice(once, 0, step, step + 1)) < rounding);
      }
    }
  });
}

TEST_CASE("a cache takes memory as it grows, and keeps what it has") {
  const NoGrad no_grad;
  models::KeyValueCache cache(2, int64_t{1} << 40);
  std::vector<std::vector<Scalar>> kept(2);  // the keys of each hypothesis
  for (int t = 0; t < 1100; ++t) {
    if (t == 300 || t == 1000) {  // more hypotheses, in rows that are full or not
      cache.select({1, 0, 1});
      kept = {kept[1], kept[0], kept[1]};
    }
    std::vector<Scalar> next;
    for (auto& keys : kept) keys.push_back(next.emplace_back(static_cast<Scalar>(next.size() + 3 * t)));
    const auto n = static_cast<int64_t>(next.size());
    const nn::KeyValues all = cache.append({tensor(next, {n, 1}), -tensor(next, {n, 1}), {}});
    if (t % 100 > 1 && t != 256 && t != 512) continue;
    for (size_t b = 0; b < kept.size(); ++b) {
      std::vector<Scalar> keys, values;
      for (int64_t i = 0; i <= t; ++i) {
        const int32_t row = all.rows[all.spans[b].begin + i];
        keys.push_back(all.k.data()[row]), values.push_back(-all.v.data()[row]);
      }
      CHECK((keys == kept[b] && values == kept[b]));
    }
  }
  models::KeyValueCache many(1 << 23, int64_t{1} << 40);
  const Tensor wide = zeros({1 << 23, 1});
  CHECK_THROWS_WITH(many.append({wide, wide, {}}),
                    "KeyValueCache: no room for 8388608 hypotheses of 256 tokens: together they may have 2^31 - 1");
}

TEST_CASE("what would give wrong numbers is refused: lengths that are not the ids', a recorded cache") {
  Random random(1);
  models::Transformer model(small_config(AttentionKind::diff, Style::llama), random);
  CHECK_THROWS_WITH(model(source, {4, 2, 4}, target, target_lengths),
                    "embed: 11 ids for sentences of 10 tokens in all");
  CHECK_THROWS_WITH(model(source, source_lengths, target, {3, 4, 3}), "embed: 9 ids for sentences of 10 tokens in all");
  models::KeyValueCache cache(1, 2);
  const nn::KeyValues next{ones({1, 4}), ones({1, 4}), {{0, 1}}};
  CHECK_THROWS_WITH(cache.append(next),
                    "KeyValueCache: decoding with a cache cannot be differentiated: open a NoGrad scope");
  NoGrad no_grad;
  cache.append(next);
  CHECK_THROWS_WITH(
      cache.append({ones({1, 4}), ones({1, 3}), {{0, 1}}}),
      "KeyValueCache: keys (1, 4) and values (1, 3) of one token for each hypothesis: not (1, 4) and (1, 4)");
  cache.append(next);
  CHECK_THROWS_WITH(cache.append(next), "KeyValueCache: no room for more than 2 tokens");
  models::KeyValueCache other(2, 2);
  CHECK_THROWS_WITH(
      other.append(next),
      "KeyValueCache: keys (1, 4) and values (1, 4) of one token for each hypothesis: not (2, 4) and (2, 4)");
  CHECK_THROWS_WITH(other.select({1, 2}), "KeyValueCache: no hypothesis 2 among 2");
  std::vector<models::KeyValueCache> caches;
  caches.emplace_back(2, 2);
  CHECK_THROWS_WITH(model.step({3, 4}, 0, {next, next}, caches),
                    "Transformer: memory or caches are not those of 2 layers");
  const nn::Sequences one = nn::packed_sequences({1});
  CHECK_THROWS_WITH(model.decoder()(ones({1, 16}), one, {}, nullptr),
                    "TransformerLayer: cross-attention needs the encoder's keys and values");
  CHECK_THROWS_WITH(model.encoder()(ones({1, 16}), one, {next, next}, nullptr),
                    "TransformerLayer: there is no cross-attention for an encoder's keys and values");
}
