#pragma once
// The encoder-decoder Transformer (Vaswani et al. 2017) with a choice of attention: layer, stack of layers, model.
//
// Two words throughout:
//   packed  the sentences of a batch lie end to end in the rows of one matrix, without padding. N tokens in all make
//           (N, D); nn::Sequences says where each sentence begins, and only attention needs to know.
//   memory  the encoder's output, (M, D), which the decoder attends to (cross-attention), or its keys and values.
#include <memory>
#include <string>
#include <vector>

#include "models/key_value_cache.h"
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
  int64_t vocab = 8000;   ///< V, words of source and target together
  int64_t d_model = 128;  ///< D, features of a token between sublayers
  int heads = 2;          ///< output heads: diff has two maps in each, half as wide as a softmax head would be
  int64_t ff = 256;       ///< F, features inside a feed-forward network
  int encoder_layers = 4, decoder_layers = 4;
  AttentionKind attention = AttentionKind::diff;
  Style style = Style::llama;
  Scalar dropout = 0;  ///< of embeddings and of each sublayer's output, in training mode
};

/// "softmax", "diff", "diff-v2" and "llama", "vaswani"; from text, throws naming the choices.
std::string to_string(AttentionKind);
std::string to_string(Style);
AttentionKind attention_from_string(const std::string&);
Style style_from_string(const std::string&);

/// The attention module of this kind, newly initialised. Throws if `config` cannot be (see nn::Attention).
std::unique_ptr<nn::Attention> make_attention(AttentionKind kind, const nn::AttentionConfig& config, Random& random);

/// What the layers of a stack may attend to. The two of an encoder-decoder have names; a decoder-only language model's
/// stack is a third one, {.causal = true, .cross_attention = false}.
struct StackRole {
  bool causal;           ///< in self-attention a token sees itself and those before it; if not, its whole sentence
  bool cross_attention;  ///< each layer attends to an encoder's output, too
};
inline constexpr StackRole encoder_role{.causal = false, .cross_attention = false};
inline constexpr StackRole decoder_role{.causal = true, .cross_attention = true};

/// Self-attention, cross-attention if the role has it, and the feed-forward network: three sublayers, each added to
/// what goes past it (a residual connection).
class TransformerLayer : public nn::Module {
 public:
  /// The layer at place `depth` of its stack, counted from 0.
  TransformerLayer(const TransformerConfig& config, int depth, StackRole role, Random& random);

  /// x (N, D) -> (N, D), packed as xs says. `memory`: the keys and values that this layer's cross-attention made of the
  /// encoder's output; throws unless it is given exactly if there is cross-attention. `cache`: null, or the keys and
  /// values of the tokens before; then x is one new token of each sentence, and the cache takes it in.
  Tensor operator()(const Tensor& x, const nn::Sequences& xs, const nn::KeyValues* memory, KeyValueCache* cache) const;

  std::unique_ptr<nn::Attention> self_attn, cross_attn;  ///< cross_attn is null if the role has none

 private:
  // llama: x + dropout(f(norm(x)));  vaswani: norm(x + dropout(f(x)))
  template <class F>
  Tensor residual(const Tensor& x, const nn::Norm& norm, F f) const {
    return pre_norm_ ? x + drop_(f(norm(x))) : norm(x + drop_(f(x)));
  }
  const bool causal_, pre_norm_;
  std::unique_ptr<nn::Norm> self_norm_, cross_norm_, ffn_norm_;
  nn::FeedForward ffn_;
  nn::Dropout drop_;
};

/// Layers one after the other; depth counts from 0 in each stack. Embedding and sinusoids are the model's part.
class TransformerStack : public nn::Module {
 public:
  /// Throws unless `layers` > 0. Of `config`, the numbers of layers and of words play no part.
  TransformerStack(const TransformerConfig& config, int layers, StackRole role, Random& random);
  /// x (N, D) -> (N, D), through every layer. `memory`: one for each layer if the role has cross-attention, else empty.
  /// `caches`: null, or one for each layer. Layer i gets memory[i] and caches[i]: see TransformerLayer.
  Tensor operator()(Tensor x, const nn::Sequences& xs, const std::vector<nn::KeyValues>& memory,
                    std::vector<KeyValueCache>* caches) const;
  /// From the first to the last.
  const std::vector<std::unique_ptr<TransformerLayer>>& layers() const { return layers_; }

 private:
  std::vector<std::unique_ptr<TransformerLayer>> layers_;
  std::unique_ptr<nn::Norm> norm_;  // llama: the last residual sum is normalised too
};

/// The whole model. One embedding serves source, target and, transposed, the output.
///
/// A batch is the ids of its sentences, packed, and their lengths; sentence b of the target belongs to sentence b of
/// the source. Throws unless the lengths add up to the number of ids, and every id is in the vocabulary.
class Transformer : public nn::Module {
 public:
  /// Newly initialised from `random`. Throws if `config` cannot be.
  Transformer(const TransformerConfig& config, Random& random);

  /// The encoder's output, a row for each source token: (M, D). This is the `memory` of what follows.
  Tensor encode(const std::vector<int32_t>& source, const nn::Sequences& sentences) const;
  /// The decoder's output, a row for each target token: (N, D). Each sees the targets up to itself and all of its
  /// source. Training gives it BOS and the true target (teacher forcing): all tokens at once, as none sees the next.
  Tensor decode(const std::vector<int32_t>& target, const nn::Sequences& sentences, const Tensor& memory,
                const nn::Sequences& memory_sentences) const;
  /// Scores of all words to come next, before softmax: (N, D) -> (N, V).
  Tensor logits(const Tensor& decoded) const { return linear(decoded, embedding_.weight); }
  /// The three of them, logits(decode(target, encode(source))): (N, V).
  Tensor operator()(const std::vector<int32_t>& source, const std::vector<int64_t>& source_lengths,
                    const std::vector<int32_t>& target, const std::vector<int64_t>& target_lengths) const;

  /// The loss to train on: cross entropy of those logits, which are never all held at once (linear_cross_entropy).
  /// `target_in` begins with BOS in every sentence; `target_out`, what is to come next, is as long and ends with EOS.
  Tensor loss(const std::vector<int32_t>& source, const std::vector<int64_t>& source_lengths,
              const std::vector<int32_t>& target_in, const std::vector<int64_t>& target_lengths,
              const std::vector<int32_t>& target_out, const CrossEntropyOptions& options = {}) const;

  // Decoding token by token: memory_keys_values() once, then step() for each token.
  /// The keys and values that each decoder layer's cross-attention makes of the encoder's output.
  std::vector<nn::KeyValues> memory_keys_values(const Tensor& memory, const nn::Sequences& memory_sentences) const;
  /// The decoder's output for one new token of each of B hypotheses (translations as far as they are written), all at
  /// place `position` of their sentence: (B, D). What decode() gives for that token, without computing the earlier ones
  /// again: `caches`, one for each decoder layer, has their keys and values, and takes in the new ones.
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
