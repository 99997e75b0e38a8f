#pragma once
// The decoder-only Transformer: a language model, which says what comes next.
#include "models/transformer_layer.h"

namespace difftensor::inline DT_PRECISION::models {

/// Everything that fixes the model's shape.
struct LanguageModelConfig : LayerConfig {
  int64_t vocab = 256;  ///< V, the tokens that there are
  int layers = 4;
  bool tied_output = true;  ///< the output layer's weight is the embedding's; if not, it is a parameter of its own
};

/// A stack of causal layers with tokens at both ends: embedding before it, scores of the next token after it. Names of
/// parameters: "embedding.weight", "layers.0.self_attn.q_proj.weight" and so on, "norm.weight", and, if the output is
/// not tied, "output.weight".
///
/// A batch is the ids of its texts, packed, and their lengths. Throws unless the lengths add up to the number of ids,
/// and every id is in the vocabulary.
class LanguageModel : public TransformerStack {
 public:
  /// Newly initialised from `random`. Throws if `config` is invalid.
  LanguageModel(const LanguageModelConfig& config, Random& random);

  /// What enters the first layer: (N, D).
  Tensor embed(const std::vector<int32_t>& ids, const nn::Sequences& texts) const {
    return drop_(models::embed(ids, texts, embedding_, config.style));
  }
  /// What the last layer, normalised, says of each token: (N, D). Each sees itself and those before it in its text.
  Tensor decode(const std::vector<int32_t>& ids, const nn::Sequences& texts) const;
  /// Scores of all tokens to come next, before softmax: (N, D) -> (N, V).
  Tensor logits(const Tensor& decoded) const { return linear(decoded, output_weight()); }
  /// The two of them, logits(decode(ids)): (N, V).
  Tensor operator()(const std::vector<int32_t>& ids, const std::vector<int64_t>& lengths) const;
  /// The loss to train on: cross entropy of those logits, which are never all held at once (linear_cross_entropy).
  /// `targets` has what comes after each token of `ids`, or options.ignore_index where that does not count.
  Tensor loss(const std::vector<int32_t>& ids, const std::vector<int64_t>& lengths, const std::vector<int32_t>& targets,
              const CrossEntropyOptions& options = {}) const;
  /// decode() for one more token of each of B texts, all at place `position`: (B, D). The earlier ones are not computed
  /// again: `caches`, one for each layer (make_caches), has their keys and values, and takes in the new ones.
  Tensor step(const std::vector<int32_t>& tokens, int32_t position, std::vector<KeyValueCache>& caches) const;
  /// Empty caches for `texts` texts of at most `capacity` tokens.
  std::vector<KeyValueCache> make_caches(int64_t texts, int64_t capacity) const;
  /// (V, D)
  const Tensor& output_weight() const { return output_ ? output_->weight : embedding_.weight; }

  const LanguageModelConfig config;

 private:
  nn::Embedding& embedding_;
  nn::Embedding* const output_;  // not tied only: of an embedding's shape and initial values
  nn::Dropout& drop_;
};

}  // namespace difftensor::inline DT_PRECISION::models
