#pragma once
// Looking into a trained model: the attention maps of a sentence, and a page on which to explore them.
#include <optional>
#include <string>
#include <vector>

#include "examples/training/attention_chart.h"
#include "examples/training/lambdas.h"
#include "examples/translate/translator.h"
#include "models/transformer.h"

namespace translate {

/// What one head attends to: T queries, S keys.
struct HeadMaps {
  difftensor::Tensor a1;          ///< (T, S), rows of sum 1; the only map of softmax attention
  difftensor::Tensor a2;          ///< (T, S); softmax attention has none, and no lambda: both are undefined
  difftensor::Tensor lambda;      ///< a scalar, or (T, 1): one for each query
  difftensor::Tensor difference;  ///< (T, S): A1 - lambda A2, by which values are weighed; for softmax attention A1
};

/// The maps of every head, from what a call of attend() left for a batch of one sentence (throws on more).
std::vector<HeadMaps> head_maps(const difftensor::nn::AttentionTrace& trace);

/// Every map of a sentence pair: [layer][head].
struct AttentionMaps {
  using Stack = std::vector<std::vector<HeadMaps>>;
  Stack encoder;              ///< source x source
  Stack decoder;              ///< target_in x target_in, causal
  Stack cross;                ///< target_in x source
  difftensor::Tensor logits;  ///< (T, V): what the model says will follow each target token
};

/// Runs the model on one pair: the source with its EOS, the target from BOS to its last word.
AttentionMaps attention_maps(const difftensor::models::Transformer& model, const std::vector<int32_t>& source,
                             const std::vector<int32_t>& target_in);

/// The cross-attention of a pair, in the layer and head that look most decidedly: where the largest entry of a row of
/// A1 - lambda A2 is largest on average. The source ends with EOS; the target begins with BOS and ends with EOS. The
/// model must have differential attention.
AttentionFigure most_decided_cross_attention(const Translator& translator, const std::vector<int32_t>& source,
                                             const std::vector<int32_t>& target);

/// One HTML file, in need of nothing else, on which to explore the maps of a sentence and its translation: `target`, or
/// if there is none what the model finds with this beam. Throws InputError on a text that is empty, of several lines,
/// not UTF-8, or of more tokens than the model takes.
std::string inspection_page(const Translator& translator, const std::string& sentence,
                            const std::optional<std::string>& target, int beam);

}  // namespace translate
