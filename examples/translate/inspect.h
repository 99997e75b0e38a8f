#pragma once
// Looking into a trained model: the attention maps of a sentence, and a page on which to explore them.
#include <optional>
#include <string>
#include <vector>

#include "examples/training/attention_maps.h"
#include "examples/translate/translator.h"
#include "models/transformer.h"

namespace translate {

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
