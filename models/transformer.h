#pragma once
// The encoder-decoder Transformer (Vaswani et al. 2017) with a choice of attention.
//
// Memory, throughout: the encoder's output, (M, D), which the decoder attends to (cross-attention), or its keys and
// values.
#include "models/transformer_layer.h"

namespace difftensor::inline DT_PRECISION::models {

/// Everything that fixes the model's shape.
struct TransformerConfig : LayerConfig {
  int64_t vocab = 8000;  ///< V, words of source and target together
  int encoder_layers = 4, decoder_layers = 4;
};

/// The whole model. One embedding serves source, target and, transposed, the output.
///
/// A batch is the ids of its sentences, packed, and their lengths; sentence b of the target belongs to sentence b of
/// the source. Throws unless the lengths add up to the number of ids, and every id is in the vocabulary.
class Transformer : public nn::Module {
 public:
  /// Newly initialised from `random`. Throws if `config` is invalid.
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
  nn::Embedding& embedding_;
  TransformerStack &encoder_, &decoder_;
  nn::Dropout& drop_;
};

}  // namespace difftensor::inline DT_PRECISION::models
