#include "models/transformer_layer.h"

#include <cmath>

#include "nn/diff_attention.h"

namespace difftensor::inline DT_PRECISION::models {

namespace {
template <class Choice>
using Names = std::vector<std::pair<Choice, std::string>>;

const Names<AttentionKind>& attention_names() {
  static const Names<AttentionKind> names{
      {AttentionKind::softmax, "softmax"}, {AttentionKind::diff, "diff"}, {AttentionKind::diff_v2, "diff-v2"}};
  return names;
}
const Names<Style>& style_names() {
  static const Names<Style> names{{Style::llama, "llama"}, {Style::vaswani, "vaswani"}};
  return names;
}

template <class Choice>
std::string name_of(Choice wanted, const Names<Choice>& names) {
  for (auto& [choice, name] : names)
    if (choice == wanted) return name;
  throw std::logic_error("to_string: a choice without a name");
}
template <class Choice>
Choice choice_named(const std::string& wanted, const char* what, const Names<Choice>& names) {
  std::string known;
  for (auto& [choice, name] : names) {
    if (name == wanted) return choice;
    known += (known.empty() ? "" : ", ") + name;
  }
  throw std::invalid_argument(std::string(what) + ": \"" + wanted + "\" is none of " + known);
}
}  // namespace

std::string to_string(AttentionKind kind) { return name_of(kind, attention_names()); }
std::string to_string(Style style) { return name_of(style, style_names()); }
AttentionKind attention_from_string(const std::string& name) {
  return choice_named(name, "attention", attention_names());
}
Style style_from_string(const std::string& name) { return choice_named(name, "style", style_names()); }

std::unique_ptr<nn::Attention> make_attention(AttentionKind kind, const nn::AttentionConfig& config, Random& random) {
  switch (kind) {
    case AttentionKind::softmax:
      return std::make_unique<nn::MultiheadAttention>(config, random);
    case AttentionKind::diff:
      return std::make_unique<nn::MultiheadDiffAttention>(config, random);
    case AttentionKind::diff_v2:
      return std::make_unique<nn::MultiheadDiffAttentionV2>(config, random);
  }
  throw std::logic_error("make_attention: unknown kind");
}

namespace {
std::unique_ptr<nn::Norm> make_norm(const LayerConfig& config) {
  if (config.style == Style::llama) return std::make_unique<nn::RMSNorm>(config.d_model);
  return std::make_unique<nn::LayerNorm>(config.d_model);
}
}  // namespace

nn::Attention& TransformerLayer::make_attention(const char* name, bool cross, const LayerConfig& c, int depth,
                                                Random& random) {
  const bool rotary = c.style == Style::llama && !cross;
  const nn::AttentionConfig config{c.d_model, c.heads, rotary, depth, c.head_norm, c.lambda_init};
  if (!c.attention_factory) return add_module(name, models::make_attention(c.attention, config, random));
  nn::Attention& made = add_module(name, c.attention_factory(config, cross, random));
  require(made.config.width == c.d_model, "TransformerLayer", "attention_factory made ", name, " for width ",
          made.config.width, ", not ", c.d_model, ": make it from the configuration that it is given");
  return made;
}

TransformerLayer::TransformerLayer(const LayerConfig& c, int depth, StackRole role, Random& random)
    : self_attn(make_attention("self_attn", false, c, depth, random)),
      cross_attn(role.cross_attention ? &make_attention("cross_attn", true, c, depth, random) : nullptr),
      causal_(role.causal),
      pre_norm_(c.style == Style::llama),
      self_norm_(add_module("self_attn_norm", make_norm(c))),
      cross_norm_(cross_attn ? &add_module("cross_attn_norm", make_norm(c)) : nullptr),
      ffn_(add_module<nn::FeedForward>("ffn", c.d_model, c.ff,
                                       pre_norm_ ? nn::Activation::swiglu : nn::Activation::relu, random)),
      ffn_norm_(add_module("ffn_norm", make_norm(c))),
      drop_(add_module<nn::Dropout>("dropout", c.dropout)) {}

Tensor TransformerLayer::operator()(const Tensor& input, const nn::Sequences& xs, const nn::KeyValues* memory,
                                    KeyValueCache* cache) const {
  require(!memory == !cross_attn, "TransformerLayer",
          cross_attn ? "cross-attention needs the encoder's keys and values"
                     : "there is no cross-attention for an encoder's keys and values");
  Tensor x = residual(input, self_norm_, [&](const Tensor& h) {
    nn::KeyValues own = self_attn.keys_values(h, xs);
    return self_attn.attend(h, xs, cache ? cache->append(own) : own, causal_);
  });
  if (cross_attn)
    x = residual(x, *cross_norm_, [&](const Tensor& h) { return cross_attn->attend(h, xs, *memory, false); });
  return residual(x, ffn_norm_, [&](const Tensor& h) { return ffn_(h); });
}

TransformerStack::TransformerStack(const LayerConfig& c, int layers, StackRole role, Random& random)
    : layers_(add_module<nn::ModuleList<TransformerLayer>>("layers")),
      norm_(c.style == Style::llama ? &add_module("norm", make_norm(c)) : nullptr) {
  require(layers > 0, "Transformer", "a stack of ", layers, " layers");
  require(c.ff > 0, "Transformer", "feed-forward width ", c.ff, " must be positive");
  require(c.style == Style::llama || c.d_model % 2 == 0, "Transformer", "sinusoids need an even width, not ",
          c.d_model);
  for (int depth = 0; depth < layers; ++depth) layers_.add(c, depth, role, random);
}

Tensor TransformerStack::operator()(Tensor x, const nn::Sequences& xs, const std::vector<nn::KeyValues>& memory,
                                    std::vector<KeyValueCache>* caches) const {
  require((memory.empty() || memory.size() == layers_.size()) && (!caches || caches->size() == layers_.size()),
          "Transformer", "memory or caches are not those of ", layers_.size(), " layers");
  for (size_t i = 0; i < layers_.size(); ++i)
    x = layers_[i](x, xs, memory.empty() ? nullptr : &memory[i], caches ? &(*caches)[i] : nullptr);
  return norm_ ? (*norm_)(x) : x;
}

Tensor embed(const std::vector<int32_t>& ids, const nn::Sequences& xs, const nn::Embedding& embedding, Style style) {
  require(ids.size() == xs.positions.size(), "embed", ids.size(), " ids for sentences of ", xs.positions.size(),
          " tokens in all");
  const int64_t D = embedding.weight.dim(1);
  Tensor x = embedding(ids) * std::sqrt(static_cast<Scalar>(D));
  return style == Style::vaswani ? x + sinusoids(xs.positions, D) : x;
}

}  // namespace difftensor::inline DT_PRECISION::models
