// The decoder-only model.
#include <cmath>
#include <map>

#include "models/language_model.h"
#include "nn/diff_attention.h"
#include "tests/testing.h"

using namespace difftensor;
using models::AttentionKind;
using models::LanguageModel;
using models::LanguageModelConfig;
using models::Style;

namespace {

LanguageModelConfig small_config() {
  LanguageModelConfig c;
  c.vocab = 23, c.d_model = 16, c.heads = 2, c.ff = 24, c.layers = 2;
  return c;
}

// Runs f(config) for every attention, style, head norm and kind of output.
template <class F>
void every_model(F f) {
  LanguageModelConfig c = small_config();
  for (AttentionKind attention : {AttentionKind::softmax, AttentionKind::diff, AttentionKind::diff_v2})
    for (Style style : {Style::llama, Style::vaswani})
      for (bool norm : {false, true})
        for (bool tied : {false, true}) {
          c.attention = attention, c.style = style, c.head_norm = norm, c.tied_output = tied;
          CAPTURE(to_string(attention));
          CAPTURE(to_string(style));
          CAPTURE(norm);
          CAPTURE(tied);
          f(c);
        }
}

const std::vector<int32_t> ids{5, 6, 7, 2, 9, 2, 4, 4, 8, 10};
const std::vector<int64_t> lengths{4, 1, 5};

}  // namespace

TEST_CASE("language model: a token sees no later one and no other text") {
  every_model([](const LanguageModelConfig& config) {
    Random random(1);
    const LanguageModel model(config, random);
    const Tensor before = model(ids, lengths);
    CHECK(before.shape() == Shape{10, 23});
    std::vector<int32_t> changed = ids;
    changed[2] = 20;  // the third token of the first text
    const Tensor after = model(changed, lengths);
    for (int64_t row = 0; row < 10; ++row) {
      CAPTURE(row);
      const double difference = largest_difference(slice(before, 0, row, row + 1), slice(after, 0, row, row + 1));
      if (row == 2 || row == 3)
        CHECK(difference > 1e-4);
      else
        CHECK(difference == 0);
    }
  });
}

TEST_CASE("language model: token by token, or alone, is the same as all at once") {
  every_model([](const LanguageModelConfig& config) {
    Random random(2);
    const LanguageModel model(config, random);
    const NoGrad no_grad;
    const Tensor together = model(ids, lengths);
    for (int64_t t = 0, begin = 0; t < 3; begin += lengths[t++]) {
      const std::vector<int32_t> text(ids.begin() + begin, ids.begin() + begin + lengths[t]);
      const Tensor here = slice(together, 0, begin, begin + lengths[t]);
      CHECK(largest_difference(model(text, {lengths[t]}), here) < rounding);
      auto caches = model.make_caches(2, lengths[t]);  // twice the same text
      for (int32_t i = 0; i < lengths[t]; ++i) {
        const Tensor step = model.logits(model.step({text[i], text[i]}, i, caches));
        for (int64_t copy = 0; copy < 2; ++copy)
          CHECK(largest_difference(slice(step, 0, copy, copy + 1), slice(here, 0, i, i + 1)) < rounding);
      }
    }
  });
}

TEST_CASE("language model: the loss is the cross entropy of the logits") {
  every_model([](const LanguageModelConfig& config) {
    Random random(3);
    const LanguageModel model(config, random);
    const std::vector<int32_t> targets{6, 7, 2, -100, 2, 4, 4, 8, 10, 1};
    CrossEntropyOptions options;
    options.label_smoothing = Scalar(0.1);
    const Tensor loss = model.loss(ids, lengths, targets, options);
    CHECK(loss.item() == doctest::Approx(cross_entropy(model(ids, lengths), targets, options).item()).epsilon(1e-5));
  });
}

TEST_CASE("language model: parameters, by attention, head norm and output") {
  every_model([](const LanguageModelConfig& config) {
    Random random(4);
    const LanguageModel model(config, random);
    std::map<std::string, Tensor> parameters;
    for (auto& [name, tensor] : model.named_parameters()) parameters[name] = tensor;
    CHECK(parameters.contains("embedding.weight"));
    CHECK(parameters.contains("output.weight") == !config.tied_output);
    CHECK(parameters.contains("norm.weight") == (config.style == Style::llama));
    CHECK(parameters.contains("layers.1.self_attn.subln.weight") == *config.head_norm);
    CHECK(parameters.contains("layers.1.self_attn.lambda_q1") == (config.attention == AttentionKind::diff));
    CHECK(parameters.contains("layers.1.self_attn.lambda_proj.weight") == (config.attention == AttentionKind::diff_v2));
    for (auto& [name, tensor] : parameters) CHECK_FALSE(contains(name, "cross"));
    if (*config.head_norm) CHECK(parameters["layers.1.self_attn.subln.weight"].shape() == Shape{8});

    // The output layer is read from where it should be: a change of the embedding alone shows in a tied output.
    const Tensor decoded = ones({1, 16});
    const Tensor before = model.logits(decoded);
    parameters["embedding.weight"].data()[0] += 1;
    CHECK((largest_difference(model.logits(decoded), before) > 0) == config.tied_output);
  });
}

TEST_CASE("as published, differential attention alone has the head norm") {
  LanguageModelConfig config = small_config();
  for (AttentionKind attention : {AttentionKind::softmax, AttentionKind::diff, AttentionKind::diff_v2}) {
    config.attention = attention;
    Random random(1);
    const LanguageModel model(config, random);
    CHECK((model.layers()[0].self_attn.subln != nullptr) == (attention == AttentionKind::diff));
  }
}

TEST_CASE("lambda_init: by depth, or fixed; of diff alone") {
  LanguageModelConfig config = small_config();
  config.layers = 3;
  const auto lambda_inits = [&] {
    Random random(1);
    const LanguageModel model(config, random);
    std::vector<double> all;
    for (auto* layer : model.layers())
      all.push_back(dynamic_cast<nn::MultiheadDiffAttention&>(layer->self_attn).lambda_init);
    return all;
  };
  const std::vector<double> by_depth = lambda_inits();
  for (int depth = 0; depth < 3; ++depth) CHECK(by_depth[depth] == doctest::Approx(0.8 - 0.6 * std::exp(-0.3 * depth)));
  config.lambda_init = Scalar(0.5);
  CHECK(lambda_inits() == std::vector<double>{0.5, 0.5, 0.5});

  const auto refusal = [&] {
    Random random(1);
    return error_of([&] { LanguageModel(config, random); });
  };
  config.lambda_init = Scalar(NAN);
  CHECK(refusal() == "Attention: lambda_init must be finite");
  config.lambda_init = Scalar(0.5);
  for (AttentionKind other : {AttentionKind::softmax, AttentionKind::diff_v2}) {
    config.attention = other;
    CHECK(refusal() == "Attention: lambda_init is of diff attention only");
  }
}

TEST_CASE("the head norm takes each head by itself, and times 1 - lambda_init in diff only") {
  for (AttentionKind kind : {AttentionKind::softmax, AttentionKind::diff, AttentionKind::diff_v2}) {
    Random random(7);
    nn::AttentionConfig config{16, 2};
    config.head_norm = true;
    const auto attention = models::make_attention(kind, config, random);
    std::vector<Scalar> identity(16 * 16, 0);  // the results of the heads come out as they are
    for (size_t i = 0; i < 16; ++i) identity[17 * i] = 1;
    std::copy(identity.begin(), identity.end(), Tensor(attention->out_proj.weight).data());
    const nn::Sequences one = nn::packed_sequences({5});
    const Tensor x = randn({5, 16}, random), out = (*attention)(x, one, x, one, true);
    const auto* diff = dynamic_cast<nn::MultiheadDiffAttention*>(attention.get());
    const double factor = diff ? 1 - diff->lambda_init : 1;
    const Tensor squares = mean(reshape(out * out, {10, 8}), {1});  // of each head of each token
    for (int64_t i = 0; i < 10; ++i) CHECK(squares.data()[i] == doctest::Approx(factor * factor).epsilon(1e-2));
  }
}

TEST_CASE("an attention from outside is normalised too, if it is told to be") {
  // Every token gets its own values, ten times as large.
  struct Own : nn::Attention {
    Own(const nn::AttentionConfig& c, Random& random) : Attention(c, 1, c.width, c.width / c.heads, random) {}
    Tensor mix(const Tensor&, const Tensor&, const Tensor&, const Tensor& v, const AttentionLayout&) const override {
      return v * 10;
    }
  };
  Random random(8);
  nn::AttentionConfig config{16, 4};
  const nn::Sequences one = nn::packed_sequences({3});
  const Tensor x = randn({3, 16}, random);
  CHECK(Own(config, random).subln == nullptr);
  config.head_norm = true;
  const Own own(config, random);
  const Tensor expected = linear(rms_norm(linear(x, own.v_proj.weight) * 10, ones({4})), own.out_proj.weight);
  CHECK(largest_difference(own(x, one, x, one, true), expected) < rounding);
  CHECK(own.named_parameters().back().first == "subln.weight");
}

TEST_CASE("language model: what cannot be is refused") {
  const auto refusal = [](auto change) {
    LanguageModelConfig config = small_config();
    change(config);
    Random random(1);
    return error_of([&] { LanguageModel(config, random); });
  };
  CHECK(refusal([](auto&) {}) == "no error");
  CHECK(refusal([](auto& c) { c.vocab = 0; }) == "LanguageModel: vocabulary 0 must be positive");
  CHECK(refusal([](auto& c) { c.layers = 0; }) == "Transformer: a stack of 0 layers");
  CHECK(refusal([](auto& c) { c.ff = 0; }) == "Transformer: feed-forward width 0 must be positive");
  CHECK(refusal([](auto& c) { c.heads = 3; }) == "Attention: width 16 is not divisible by 3 heads of two maps each");
  Random random(1);
  const LanguageModel model(small_config(), random);
  CHECK(error_of([&] { model(ids, {4, 1, 4}); }) == "embed: 10 ids for sentences of 9 tokens in all");
  CHECK(contains(error_of([&] { model({23}, {1}); }), "23"));
  const NoGrad no_grad;
  auto caches = model.make_caches(1, 1);
  model.step({3}, 0, caches);
  CHECK(error_of([&] { model.step({3}, 1, caches); }) == "KeyValueCache: no room for more than 1 tokens");
}
