// The pages' examples, compiled and run; and the pages must show them as they stand here.
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "core/elementwise.h"
#include "core/gradcheck.h"
#include "core/safetensors.h"
#include "models/decode.h"
#include "nn/attention.h"
#include "nn/linear.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"
#include "tests/testing.h"

using namespace difftensor;

// [a layer]
/// A linear layer that is fine-tuned through a low-rank detour (LoRA, arXiv 2106.09685): y = W x + (s / r) B A x,
/// where W (out, in) stays as it is, and A (r, in), B (out, r) learn. B begins at zero, so training begins at W.
class LoraLinear : public nn::Module {
 public:
  LoraLinear(const Tensor& frozen, int64_t rank, Scalar scale, Random& random)
      : weight(frozen.detach()),
        a(add_parameter("lora_a", xavier_uniform({rank, frozen.dim(1)}, random))),
        b(add_parameter("lora_b", zeros({frozen.dim(0), rank}))),
        scale(scale / static_cast<Scalar>(rank)) {
    require(rank > 0, "LoraLinear", "rank ", rank, " must be positive");
  }

  /// (..., in) -> (..., out)
  Tensor operator()(const Tensor& x) const { return linear(x, weight) + linear(linear(x, a), b) * scale; }

  const Tensor weight;  // no parameter: no gradient, not saved
  const Tensor a, b;
  const Scalar scale;
};
// [end]

// [an attention]
/// Softmax attention whose heads learn how sharply they look: softmax(t_i Q_i K_i^T / sqrt(d)) V_i, where t_i is one
/// number for each head, 1 at first. Scaling q by t_i scales all its scores.
class SharpAttention : public nn::Attention {
 public:
  SharpAttention(const nn::AttentionConfig& c, Random& random)
      : Attention(c, 1, c.width, c.width / std::max(1, c.heads), random),
        sharpness(add_parameter("sharpness", ones({c.heads, 1}))) {}

  const Tensor sharpness;  // (h, 1)

 protected:
  Tensor mix(const Tensor&, const Tensor& q, const Tensor& k, const Tensor& v,
             const AttentionLayout& layout) const override {
    const Tensor heads = reshape(q, {q.dim(0), config.heads, head_width});  // (N, h, d)
    const Tensor sharpened = reshape(heads * sharpness, {q.dim(0), config.width});
    if (trace) trace->q = sharpened;  // what the map is made of, for those who look at maps
    return attention(sharpened, k, v, layout);
  }
};
// [end]

// [an attention in a model]
/// The configuration of a Transformer whose self-attentions are sharp ones.
models::TransformerConfig sharp_transformer() {
  models::TransformerConfig config;
  config.attention_factory = [](const nn::AttentionConfig& c, bool cross, Random& random) {
    if (cross) return models::make_attention(models::AttentionKind::softmax, c, random);
    return std::unique_ptr<nn::Attention>(std::make_unique<SharpAttention>(c, random));
  };
  return config;
}
// [end]

// [an op on elements]
/// max(x, 0)^2, elementwise: the activation of Primer (So et al. 2021, arXiv 2109.08668).
Tensor squared_relu(const Tensor& x) {
  return unary(
      "squared_relu", x, [](Scalar x) { return x > 0 ? x * x : 0; },
      [](Scalar dy, Scalar x, Scalar) { return dy * 2 * (x > 0 ? x : 0); });
}
// [end]

// [an op]
/// The last `count` elements of a vector, the last one first.
Tensor latest(const Tensor& x, int64_t count) {
  require(x.rank() == 1 && 0 <= count && count <= x.numel(), "latest", "the last ", count, " of x ", x.shape());
  Tensor out(Shape{count});
  const int64_t last = x.numel() - 1;
  for (int64_t i = 0; i < count; ++i) out.data()[i] = x.data()[last - i];
  // dx at the old place += dy at the new. The closure keeps sizes and, where it needs values, a Storage; never a Tensor.
  return record("latest", out, {x}, [last, count](const Gradients& g) {
    for (int64_t i = 0; i < count; ++i) g.buffer(0)[last - i] += g.out[i];
  });
}
// [end]

// [a look at a gradient]
/// x itself, and in backward() a look at dL/dx: results of ops keep no gradient.
Tensor watch(const Tensor& x, std::function<void(const Scalar* dx)> look) {
  return record("watch", x.detach(), {x}, [look = std::move(look)](const Gradients& g) {
    look(g.out);
    g.add_output_gradient(0);
  });
}
// [end]

// [save and go on]
/// All that a training needs to go on to the same bits, in one file.
void save_training(const std::string& path, const nn::Module& model, const optim::Optimizer& optimizer,
                   int64_t update) {
  SafeTensors file{model.state_dict(), {}, {{"update", std::to_string(update)}}};
  for (const auto& [name, state] : optimizer.state_dict()) file.tensors.emplace("optimizer." + name, state);
  save_safetensors(path, file);
}

/// Takes it over again, and returns the update that was reached.
int64_t load_training(const std::string& path, nn::Module& model, optim::Optimizer& optimizer) {
  SafeTensors file = load_safetensors(path);
  std::map<std::string, Tensor> state;
  for (const auto& [name, tensor] : file.tensors)
    if (name.starts_with("optimizer.")) state.emplace(name.substr(10), tensor);
  std::erase_if(file.tensors, [](const auto& entry) { return entry.first.starts_with("optimizer."); });
  model.load_state_dict(file.tensors);
  optimizer.load_state_dict(state);
  return std::stoll(file.metadata.at("update"));
}
// [end]

TEST_CASE("core/README's look sees the gradient, and changes none") {
  const Tensor w = tensor({1, 2}, {2}).requires_grad();
  std::vector<Scalar> seen;
  const Tensor h = watch(w * w, [&](const Scalar* dh) { seen.assign(dh, dh + 2); });
  sum(h * tensor({3, 5}, {2})).backward();
  CHECK(seen == std::vector<Scalar>{3, 5});
  CHECK(w.grad().values() == std::vector<Scalar>{6, 20});
}

TEST_CASE("optim/README's training goes on to the same bits") {
  const TemporaryFolder folder;
  struct Run {
    explicit Run(uint64_t seed) : random(seed), model(3, 2, true, random), optimizer(model.parameters(), 0) {}
    void update(int64_t number) {
      Random noise(1, static_cast<uint64_t>(number));
      optimizer.set_lr(optim::cosine(0.1, 2, 9)(number));
      model.zero_grad();
      sum(model(randn({4, 3}, noise)) * randn({4, 2}, noise)).backward();
      optimizer.step();
    }
    Random random;
    nn::Linear model;
    optim::AdamW optimizer;
  };
  Run straight(1), other(2);
  for (int64_t number = 1; number <= 5; ++number) straight.update(number);
  save_training(folder / "x", straight.model, straight.optimizer, 5);
  int64_t number = load_training(folder / "x", other.model, other.optimizer);
  CHECK(number == 5);
  while (++number <= 9) straight.update(number), other.update(number);
  CHECK(other.model.weight.values() == straight.model.weight.values());
  CHECK(other.model.bias.values() == straight.model.bias.values());
}

TEST_CASE("nn/README's layer trains, and only its detour") {
  Random random(1);
  nn::Linear whole(5, 4, false, random);
  LoraLinear layer(whole.weight, 2, 4, random);
  const Tensor x = randn({3, 5}, random);
  CHECK(largest_difference(layer(x), whole(x)) == 0);
  CHECK(layer.parameter_count() == 2 * 5 + 4 * 2);
  sum(layer(x)).backward();
  CHECK(layer.b.grad().defined());
  CHECK(!layer.weight.needs_grad());
}

TEST_CASE("nn/README's attention is softmax attention at first, and learns how sharp to be") {
  const nn::AttentionConfig config{.width = 8, .heads = 2, .rotary = true};
  Random one(1), two(1), random(2);
  SharpAttention sharp(config, one);
  nn::MultiheadAttention softmax(config, two);  // the same projections
  const nn::Sequences sentences = nn::packed_sequences({3, 2});
  const Tensor x = randn({5, 8}, random);
  CHECK(largest_difference(sharp(x, sentences, x, sentences, true), softmax(x, sentences, x, sentences, true)) == 0);
  CHECK(sharp.parameter_count() == softmax.parameter_count() + 2);
  const GradcheckResult result =
      gradcheck(sharp, [&](auto& in) { return sharp(in[0], sentences, in[0], sentences, true); }, {x});
  CHECK_MESSAGE(result.ok, result.message);
}

TEST_CASE("nn/README's attention trains, is saved and decodes in a Transformer") {
  Random random(3);
  models::Transformer model(sharp_transformer(), random);
  const auto state = model.state_dict();
  CHECK(state.contains("decoder.layers.3.self_attn.sharpness"));
  CHECK(!state.contains("decoder.layers.3.cross_attn.sharpness"));
  model.loss({5, 6, 2}, {3}, {1, 7}, {2}, {7, 2}).backward();
  for (const auto& named : model.named_parameters())
    CHECK_MESSAGE(named.second.grad().defined(), named.first, " has no gradient");
  model.eval();
  CHECK(models::decode(model, {{5, 6, 2}}).size() == 1);
}

TEST_CASE("an attention_factory that makes nothing, or something of another width, is refused") {
  Random random(3);
  const auto refusal = [&](const models::AttentionFactory& factory) {
    models::TransformerConfig config;
    config.attention_factory = factory;
    return error_of([&] { models::Transformer(config, random); });
  };
  CHECK(refusal([](const nn::AttentionConfig&, bool, Random&) { return std::unique_ptr<nn::Attention>(); }) ==
        "Module: there is nothing to register as self_attn");
  const auto narrow = [](nn::AttentionConfig c, bool, Random& r) {
    c.width /= 2;
    return std::unique_ptr<nn::Attention>(std::make_unique<SharpAttention>(c, r));
  };
  CHECK(refusal(narrow) ==
        "TransformerLayer: attention_factory made self_attn for width 64, not 128: make it from the "
        "configuration that it is given");
}

TEST_CASE("gradcheck refuses a layer with a part that is not registered") {
  struct Careless : nn::Module {
    explicit Careless(Random& random)
        : good(add_module<nn::Linear>("good", 3, 3, true, random)), loose(3, 3, true, random) {}
    nn::Linear& good;
    nn::Linear loose;
  };
  Random random(1);
  const Careless layer(random);
  const std::string error = error_of([&] {
    (void)gradcheck(layer, [&](auto& in) { return layer.loose(layer.good(in[0])); }, {ones({2, 3})});
  });
  CHECK_MESSAGE(contains(error, "that is no parameter of this module"), error);
}

TEST_CASE("core/README's ops have the gradients they claim") {
  Random random(1);
  const GradcheckResult result = gradcheck([](auto& in) { return squared_relu(in[0]); }, {randn({3, 4}, random)});
  CHECK_MESSAGE(result.ok, result.message);
  CHECK(squared_relu(tensor({-2, 3}, {2})).values() == std::vector<Scalar>{0, 9});
  const GradcheckResult last = gradcheck([](auto& in) { return latest(in[0], 2); }, {randn({5}, random)});
  CHECK_MESSAGE(last.ok, last.message);
  CHECK(latest(tensor({1, 2, 3}, {3}), 2).values() == std::vector<Scalar>{3, 2});
}

TEST_CASE("the pages show them word for word") {
  const std::string source = project_file("tests/test_readme.cpp");
  const std::pair<const char*, const char*> shown[] = {{"a layer", "nn/README.md"},
                                                       {"an attention", "nn/README.md"},
                                                       {"an attention in a model", "nn/README.md"},
                                                       {"an op on elements", "core/README.md"},
                                                       {"an op", "core/README.md"},
                                                       {"a look at a gradient", "core/README.md"},
                                                       {"save and go on", "optim/README.md"}};
  for (const auto& [part, page] : shown) {
    const std::string name = part;
    CAPTURE(name);
    const std::string mark = "// [" + name + "]\n";
    const size_t begin = source.find(mark) + mark.size();
    CHECK(contains(project_file(page),
                   "```cpp\n" + source.substr(begin, source.find("// [end]", begin) - begin) + "```"));
  }
}

TEST_CASE("the front page shows its program word for word") {
  const std::string source = project_file("examples/tour/8_sorting.cpp");
  const size_t begin = source.find("  models::TransformerConfig config;"), end = source.find("\n\n  model.eval();");
  REQUIRE(end != std::string::npos);
  CHECK(contains(project_file("README.md"), "```cpp\n" + source.substr(begin, end - begin) + "\n```"));
}
