#pragma once
// The encoder-decoder Transformer (Vaswani et al. 2017) with a choice of attention in every layer.
#include <memory>
#include <string>
#include <vector>

#include "nn/attention.h"
#include "nn/dropout.h"
#include "nn/embedding.h"
#include "nn/feed_forward.h"
#include "nn/norm.h"

namespace difftensor::inline DT_PRECISION::models {

/// What every attention in the model is: nn::MultiheadAttention, nn::MultiheadDiffAttention or
/// nn::MultiheadDiffAttentionV2.
enum class AttentionKind { softmax, diff, diff_v2 };
/// llama: RMSNorm before each sublayer and at the end, SwiGLU, rotary positions in self-attention.
/// vaswani: LayerNorm after each sublayer, ReLU with biases, sinusoids added to the embedding.
enum class Style { llama, vaswani };

/// Everything that fixes the model's shape. Settings that cannot be are refused by Transformer's constructor.
struct TransformerConfig {
  int64_t vocab = 8000;
  int64_t d_model = 128;
  int heads = 2;  ///< output heads: diff has two maps in each, half as wide as a softmax head would be
  int64_t ff = 256;
  int encoder_layers = 4, decoder_layers = 4;
  AttentionKind attention = AttentionKind::diff;
  Style style = Style::llama;
  Scalar dropout = 0;
};

/// "softmax", "diff", "diff-v2" and "llama", "vaswani"; from text, throws naming the choices.
std::string to_string(AttentionKind);
std::string to_string(Style);
AttentionKind attention_from_string(const std::string&);
Style style_from_string(const std::string&);

/// The attention module of this kind, newly initialised. Throws if `config` cannot be (see nn::Attention).
std::unique_ptr<nn::Attention> make_attention(AttentionKind kind, const nn::AttentionConfig& config, Random& random);

/// Keys and values of the tokens decoded so far, with room for more: each hypothesis has a block of `capacity` rows.
class KeyValueCache {
 public:
  /// Empty, for keys and values of `width` features.
  KeyValueCache(int64_t hypotheses, int64_t capacity, int64_t width);
  // Moved but not copied: two handles to the same tensors would write into each other.
  KeyValueCache(KeyValueCache&&) = default;
  /// Adds one token's key and value (row b of `next`) to each hypothesis b; returns all that it has, as attention wants
  /// it. Needs a NoGrad scope, because it overwrites what earlier results were computed from. Throws if there is none,
  /// or no room.
  nn::KeyValues append(const nn::KeyValues& next);
  /// Goes on with copies of the hypotheses `parents`: beam search drops some and doubles others.
  void select(const std::vector<int32_t>& parents);

 private:
  Tensor k_, v_;                 // (blocks, capacity, D)
  std::vector<int64_t> blocks_;  // of each hypothesis; those of hypotheses that were dropped lie idle
  int64_t capacity_, width_, length_ = 0;
};

/// Self-attention, in a decoder cross-attention, and the feed-forward network, each around a residual connection.
class TransformerLayer : public nn::Module {
 public:
  /// The layer at place `depth` of its stack, counted from 0.
  TransformerLayer(const TransformerConfig& config, int depth, bool is_decoder, Random& random);

  /// x (N, D) -> (N, D). `memory` has the encoder's keys and values for this layer; an encoder layer takes none. With a
  /// cache, x is one new token of each sentence.
  Tensor operator()(const Tensor& x, const nn::Sequences& xs, const nn::KeyValues* memory, KeyValueCache* cache) const;

  std::unique_ptr<nn::Attention> self_attn, cross_attn;  ///< an encoder layer has no cross_attn

 private:
  // llama: x + dropout(f(norm(x)));  vaswani: norm(x + dropout(f(x)))
  template <class F>
  Tensor residual(const Tensor& x, const nn::Norm& norm, F f) const {
    return pre_norm_ ? x + drop_(f(norm(x))) : norm(x + drop_(f(x)));
  }
  const bool pre_norm_;
  std::unique_ptr<nn::Norm> self_norm_, cross_norm_, ffn_norm_;
  nn::FeedForward ffn_;
  nn::Dropout drop_;
};

/// Layers one after the other; depth counts from 0 in each stack.
class TransformerStack : public nn::Module {
 public:
  /// Throws unless `layers` > 0.
  TransformerStack(const TransformerConfig& config, int layers, bool is_decoder, Random& random);
  /// x (N, D) -> (N, D), through every layer. A decoder takes one `memory` for each layer, an encoder none; with
  /// `caches`, one for each layer, x is one new token of each sentence.
  Tensor operator()(Tensor x, const nn::Sequences& xs, const std::vector<nn::KeyValues>& memory,
                    std::vector<KeyValueCache>* caches) const;
  /// From the first to the last.
  const std::vector<std::unique_ptr<TransformerLayer>>& layers() const { return layers_; }

 private:
  std::vector<std::unique_ptr<TransformerLayer>> layers_;
  std::unique_ptr<nn::Norm> norm_;  // llama: the last residual sum is normalised too
};

/// The whole model. One embedding serves source, target and, transposed, the output. Batches are packed: token ids of
/// all sentences end to end, with their lengths, which must add up to the number of ids.
class Transformer : public nn::Module {
 public:
  /// Newly initialised from `random`. Throws if `config` cannot be.
  Transformer(const TransformerConfig& config, Random& random);

  /// Encoder output for every source token: (N, D).
  Tensor encode(const std::vector<int32_t>& source, const nn::Sequences& sentences) const;
  /// Decoder output for every target token, each seeing the targets up to itself and all of its source: (N, D).
  Tensor decode(const std::vector<int32_t>& target, const nn::Sequences& sentences, const Tensor& memory,
                const nn::Sequences& memory_sentences) const;
  /// Scores of all words to come next: (N, D) -> (N, V).
  Tensor logits(const Tensor& decoded) const { return linear(decoded, embedding_.weight); }
  /// The three of them: logits for every target token.
  Tensor operator()(const std::vector<int32_t>& source, const std::vector<int64_t>& source_lengths,
                    const std::vector<int32_t>& target, const std::vector<int64_t>& target_lengths) const;

  /// linear_cross_entropy of those logits, which are never all held at once: the loss to train on.
  Tensor loss(const std::vector<int32_t>& source, const std::vector<int64_t>& source_lengths,
              const std::vector<int32_t>& target_in, const std::vector<int64_t>& target_lengths,
              const std::vector<int32_t>& target_out, const CrossEntropyOptions& options = {}) const;

  // Decoding token by token.
  /// Each decoder layer's keys and values of the encoder's output.
  std::vector<nn::KeyValues> memory_keys_values(const Tensor& memory, const nn::Sequences& memory_sentences) const;
  /// Decoder output for one new token of each hypothesis, at place `position` of its sentence.
  Tensor step(const std::vector<int32_t>& tokens, int32_t position, const std::vector<nn::KeyValues>& memory,
              std::vector<KeyValueCache>& caches) const;

  const TransformerConfig config;
  /// To look into its layers, as for their attention maps.
  const TransformerStack& encoder() const { return encoder_; }
  const TransformerStack& decoder() const { return decoder_; }

 private:
  Tensor embed(const std::vector<int32_t>& ids, const nn::Sequences& sentences) const;
  nn::Embedding embedding_;
  TransformerStack encoder_, decoder_;
  nn::Dropout drop_;
};

}  // namespace difftensor::inline DT_PRECISION::models
