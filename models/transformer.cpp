#include "models/transformer.h"

#include <cmath>
#include <numeric>
#include <set>

#include "nn/diff_attention.h"

namespace difftensor::inline DT_PRECISION::models {

std::string to_string(AttentionKind kind) {
  return kind == AttentionKind::softmax ? "softmax" : kind == AttentionKind::diff ? "diff" : "diff-v2";
}
std::string to_string(Style style) { return style == Style::llama ? "llama" : "vaswani"; }

AttentionKind attention_from_string(const std::string& name) {
  for (auto kind : {AttentionKind::softmax, AttentionKind::diff, AttentionKind::diff_v2})
    if (name == to_string(kind)) return kind;
  throw std::invalid_argument("attention: \"" + name + "\" is none of softmax, diff, diff-v2");
}
Style style_from_string(const std::string& name) {
  for (auto style : {Style::llama, Style::vaswani})
    if (name == to_string(style)) return style;
  throw std::invalid_argument("style: \"" + name + "\" is none of llama, vaswani");
}

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

// --- The cache of decoding ----------------------------------------------------------------------------------------

KeyValueCache::KeyValueCache(int64_t hypotheses, int64_t capacity, int64_t width)
    : k_({hypotheses, capacity, width}), v_({hypotheses, capacity, width}), capacity_(capacity), width_(width) {
  blocks_.resize(hypotheses);
  std::iota(blocks_.begin(), blocks_.end(), int64_t{0});
}

nn::KeyValues KeyValueCache::append(const nn::KeyValues& next) {
  require(!grad_enabled(), "KeyValueCache", "decoding with a cache cannot be differentiated: open a NoGrad scope");
  require(length_ < capacity_, "KeyValueCache", "no room for more than ", capacity_, " tokens");
  const Shape wanted{static_cast<int64_t>(blocks_.size()), width_};
  require(next.k.shape() == wanted && next.v.shape() == wanted, "KeyValueCache", "keys ", next.k.shape(),
          " and values ", next.v.shape(), " of one token for each hypothesis: not ", wanted);
  Spans spans;
  for (size_t b = 0; b < blocks_.size(); ++b) {
    const int64_t begin = blocks_[b] * capacity_, from = static_cast<int64_t>(b) * width_;
    std::copy_n(next.k.data() + from, width_, k_.data() + (begin + length_) * width_);
    std::copy_n(next.v.data() + from, width_, v_.data() + (begin + length_) * width_);
    spans.push_back({begin, length_ + 1});
  }
  ++length_;
  return {reshape(k_, {-1, width_}), reshape(v_, {-1, width_}), spans};
}

void KeyValueCache::select(const std::vector<int32_t>& parents) {
  std::vector<int64_t> chosen;
  for (int32_t parent : parents) {
    require(parent >= 0 && parent < static_cast<int32_t>(blocks_.size()), "KeyValueCache", "no hypothesis ", parent,
            " among ", blocks_.size());
    chosen.push_back(blocks_[parent]);
  }
  const int64_t count = static_cast<int64_t>(chosen.size());
  if (std::set<int64_t>(chosen.begin(), chosen.end()).size() == chosen.size()) {  // none is doubled: nothing moves
    blocks_ = chosen;
    return;
  }
  for (Tensor* cache : {&k_, &v_}) {
    Tensor copies({count, capacity_, width_});
    for (int64_t b = 0; b < count; ++b)
      std::copy_n(cache->data() + chosen[b] * capacity_ * width_, length_ * width_,
                  copies.data() + b * capacity_ * width_);
    *cache = copies;
  }
  blocks_.resize(count);
  std::iota(blocks_.begin(), blocks_.end(), int64_t{0});
}

// --- The model ----------------------------------------------------------------------------------------------------

namespace {
std::unique_ptr<nn::Norm> make_norm(const TransformerConfig& config) {
  if (config.style == Style::llama) return std::make_unique<nn::RMSNorm>(config.d_model);
  return std::make_unique<nn::LayerNorm>(config.d_model);
}
}  // namespace

TransformerLayer::TransformerLayer(const TransformerConfig& c, int depth, bool is_decoder, Random& random)
    : pre_norm_(c.style == Style::llama),
      ffn_(c.d_model, c.ff, c.style == Style::llama ? nn::Activation::swiglu : nn::Activation::relu, random),
      drop_(c.dropout) {
  const bool rotary = c.style == Style::llama;
  self_attn = make_attention(c.attention, {c.d_model, c.heads, rotary, depth}, random);
  self_norm_ = make_norm(c);
  add_module("self_attn", *self_attn);
  add_module("self_attn_norm", *self_norm_);
  if (is_decoder) {
    cross_attn = make_attention(c.attention, {c.d_model, c.heads, false, depth}, random);
    cross_norm_ = make_norm(c);
    add_module("cross_attn", *cross_attn);
    add_module("cross_attn_norm", *cross_norm_);
  }
  ffn_norm_ = make_norm(c);
  add_module("ffn", ffn_);
  add_module("ffn_norm", *ffn_norm_);
  add_module("dropout", drop_);
}

Tensor TransformerLayer::operator()(const Tensor& input, const nn::Sequences& xs, const nn::KeyValues* memory,
                                    KeyValueCache* cache) const {
  const bool causal = cross_attn != nullptr;
  require(!memory == !cross_attn, "TransformerLayer",
          causal ? "a decoder needs the encoder's keys and values" : "an encoder attends to itself only");
  Tensor x = residual(input, *self_norm_, [&](const Tensor& h) {
    nn::KeyValues own = self_attn->keys_values(h, xs);
    return self_attn->attend(h, xs, cache ? cache->append(own) : own, causal);
  });
  if (cross_attn)
    x = residual(x, *cross_norm_, [&](const Tensor& h) { return cross_attn->attend(h, xs, *memory, false); });
  return residual(x, *ffn_norm_, [&](const Tensor& h) { return ffn_(h); });
}

TransformerStack::TransformerStack(const TransformerConfig& c, int layers, bool is_decoder, Random& random) {
  require(layers > 0, "Transformer", "a stack of ", layers, " layers");
  for (int depth = 0; depth < layers; ++depth) {
    layers_.push_back(std::make_unique<TransformerLayer>(c, depth, is_decoder, random));
    add_module("layers." + std::to_string(depth), *layers_.back());
  }
  if (c.style == Style::llama) {
    norm_ = make_norm(c);
    add_module("norm", *norm_);
  }
}

Tensor TransformerStack::operator()(Tensor x, const nn::Sequences& xs, const std::vector<nn::KeyValues>& memory,
                                    std::vector<KeyValueCache>* caches) const {
  require((memory.empty() || memory.size() == layers_.size()) && (!caches || caches->size() == layers_.size()),
          "Transformer", "memory or caches are not those of ", layers_.size(), " layers");
  for (size_t i = 0; i < layers_.size(); ++i)
    x = (*layers_[i])(x, xs, memory.empty() ? nullptr : &memory[i], caches ? &(*caches)[i] : nullptr);
  return norm_ ? (*norm_)(x) : x;
}

Transformer::Transformer(const TransformerConfig& c, Random& random)
    : config(c),
      embedding_(c.vocab, c.d_model, random),
      encoder_(c, c.encoder_layers, false, random),
      decoder_(c, c.decoder_layers, true, random),
      drop_(c.dropout) {
  require(c.vocab > 0 && c.ff > 0, "Transformer", "vocabulary ", c.vocab, " and feed-forward width ", c.ff,
          " must be positive");
  require(c.style == Style::llama || c.d_model % 2 == 0, "Transformer", "sinusoids need an even width, not ",
          c.d_model);
  add_module("embedding", embedding_);
  add_module("encoder", encoder_);
  add_module("decoder", decoder_);
  add_module("dropout", drop_);
}

Tensor Transformer::embed(const std::vector<int32_t>& ids, const nn::Sequences& sentences) const {
  require(ids.size() == sentences.positions.size(), "Transformer", ids.size(), " ids for sentences of ",
          sentences.positions.size(), " tokens in all");
  Tensor x = embedding_(ids) * std::sqrt(static_cast<Scalar>(config.d_model));
  if (config.style == Style::vaswani) x = x + sinusoids(sentences.positions, config.d_model);
  return drop_(x);
}

Tensor Transformer::encode(const std::vector<int32_t>& source, const nn::Sequences& sentences) const {
  return encoder_(embed(source, sentences), sentences, {}, nullptr);
}

std::vector<nn::KeyValues> Transformer::memory_keys_values(const Tensor& memory, const nn::Sequences& sentences) const {
  std::vector<nn::KeyValues> all;
  for (auto& layer : decoder_.layers()) all.push_back(layer->cross_attn->keys_values(memory, sentences));
  return all;
}

Tensor Transformer::decode(const std::vector<int32_t>& target, const nn::Sequences& sentences, const Tensor& memory,
                           const nn::Sequences& memory_sentences) const {
  return decoder_(embed(target, sentences), sentences, memory_keys_values(memory, memory_sentences), nullptr);
}

Tensor Transformer::operator()(const std::vector<int32_t>& source, const std::vector<int64_t>& source_lengths,
                               const std::vector<int32_t>& target, const std::vector<int64_t>& target_lengths) const {
  const nn::Sequences from = nn::packed_sequences(source_lengths), to = nn::packed_sequences(target_lengths);
  return logits(decode(target, to, encode(source, from), from));
}

Tensor Transformer::loss(const std::vector<int32_t>& source, const std::vector<int64_t>& source_lengths,
                         const std::vector<int32_t>& target_in, const std::vector<int64_t>& target_lengths,
                         const std::vector<int32_t>& target_out, const CrossEntropyOptions& options) const {
  const nn::Sequences from = nn::packed_sequences(source_lengths), to = nn::packed_sequences(target_lengths);
  return linear_cross_entropy(decode(target_in, to, encode(source, from), from), embedding_.weight, target_out,
                              options);
}

Tensor Transformer::step(const std::vector<int32_t>& tokens, int32_t position, const std::vector<nn::KeyValues>& memory,
                         std::vector<KeyValueCache>& caches) const {
  nn::Sequences sentences = nn::packed_sequences(std::vector<int64_t>(tokens.size(), 1));
  std::fill(sentences.positions.begin(), sentences.positions.end(), position);
  return decoder_(embed(tokens, sentences), sentences, memory, &caches);
}

}  // namespace difftensor::inline DT_PRECISION::models
