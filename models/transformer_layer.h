#pragma once
// What every Transformer (Vaswani et al. 2017) is made of: its layer with a choice of attention, and the stack of them.
//
// Packed, throughout: the sentences of a batch lie end to end in the rows of one matrix, without padding. N tokens in
// all make (N, D); nn::Sequences says where each sentence begins, and only attention needs to know.
#include <functional>
#include <memory>
#include <optional>
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

/// Makes an attention of one's own for a layer; `cross` says whether it is its cross-attention. It is made from
/// `config`, which carries the width, the heads, whether positions are to be rotated in, and the depth.
using AttentionFactory =
    std::function<std::unique_ptr<nn::Attention>(const nn::AttentionConfig& config, bool cross, Random& random)>;

/// What the layers of a model are. The model's constructor refuses invalid ones.
struct LayerConfig {
  int64_t d_model = 128;  ///< D, features of a token between sublayers
  int heads = 2;          ///< output heads: diff has two maps in each, half as wide as a softmax head would be
  int64_t ff = 256;       ///< F, features inside a feed-forward network
  AttentionKind attention = AttentionKind::diff;
  AttentionFactory attention_factory;  ///< if set, it makes each attention, in place of that kind
  std::optional<bool> head_norm;       ///< see nn::AttentionConfig
  std::optional<Scalar> lambda_init;   ///< see nn::AttentionConfig; diff only
  Style style = Style::llama;
  Scalar dropout = 0;  ///< of embeddings and of each sublayer's output, in training mode
};

/// "softmax", "diff", "diff-v2" and "llama", "vaswani"; from text, throws naming the choices.
std::string to_string(AttentionKind);
std::string to_string(Style);
AttentionKind attention_from_string(const std::string&);
Style style_from_string(const std::string&);

/// The attention module of this kind, newly initialised. Throws if `config` is invalid (see nn::Attention).
std::unique_ptr<nn::Attention> make_attention(AttentionKind kind, const nn::AttentionConfig& config, Random& random);

/// What the layers of a stack may attend to.
struct StackRole {
  bool causal;           ///< in self-attention a token sees itself and those before it; if not, its whole sentence
  bool cross_attention;  ///< each layer attends to an encoder's output, too
};
inline constexpr StackRole encoder_role{.causal = false, .cross_attention = false};
inline constexpr StackRole decoder_role{.causal = true, .cross_attention = true};
inline constexpr StackRole language_model_role{.causal = true, .cross_attention = false};

/// Self-attention, cross-attention if the role has it, and the feed-forward network: two or three sublayers, each added
/// to what goes past it (a residual connection).
class TransformerLayer : public nn::Module {
 public:
  /// The layer at place `depth` of its stack, counted from 0.
  TransformerLayer(const LayerConfig& config, int depth, StackRole role, Random& random);

  /// x (N, D) -> (N, D), packed as xs says. `memory`: the keys and values that this layer's cross-attention made of the
  /// encoder's output; throws unless it is given exactly if there is cross-attention. `cache`: null, or the keys and
  /// values of the tokens before; then x is one new token of each sentence, and the cache takes it in.
  Tensor operator()(const Tensor& x, const nn::Sequences& xs, const nn::KeyValues* memory, KeyValueCache* cache) const;

  nn::Attention& self_attn;
  nn::Attention* const cross_attn;  ///< null if the role has none

 private:
  // llama: x + dropout(f(norm(x)));  vaswani: norm(x + dropout(f(x)))
  template <class F>
  Tensor residual(const Tensor& x, const nn::Norm& norm, F f) const {
    return pre_norm_ ? x + drop_(f(norm(x))) : norm(x + drop_(f(x)));
  }
  nn::Attention& make_attention(const char* name, bool cross, const LayerConfig& config, int depth, Random& random);
  const bool causal_, pre_norm_;
  nn::Norm& self_norm_;
  nn::Norm* const cross_norm_;
  nn::FeedForward& ffn_;
  nn::Norm& ffn_norm_;
  nn::Dropout& drop_;
};

/// Layers one after the other; depth counts from 0 in each stack.
class TransformerStack : public nn::Module {
 public:
  /// Throws unless `layers` > 0, and if `config` is invalid: ff <= 0, say, or an odd d_model in style vaswani.
  TransformerStack(const LayerConfig& config, int layers, StackRole role, Random& random);
  /// x (N, D) -> (N, D), through every layer. `memory`: one for each layer if the role has cross-attention, else empty.
  /// `caches`: null, or one for each layer. Layer i gets memory[i] and caches[i]: see TransformerLayer.
  Tensor operator()(Tensor x, const nn::Sequences& xs, const std::vector<nn::KeyValues>& memory,
                    std::vector<KeyValueCache>* caches) const;
  /// From the first to the last.
  const nn::ModuleList<TransformerLayer>& layers() const { return layers_; }

 private:
  nn::ModuleList<TransformerLayer>& layers_;
  nn::Norm* const norm_;  // llama: the last residual sum is normalised too
};

/// What enters a stack: embeddings of the ids, times sqrt(D); in the style vaswani, plus the sinusoids of their
/// positions. (N, D). Throws unless there is an id for each token that `xs` tells of, and each is in the vocabulary.
Tensor embed(const std::vector<int32_t>& ids, const nn::Sequences& xs, const nn::Embedding& embedding, Style style);

}  // namespace difftensor::inline DT_PRECISION::models
