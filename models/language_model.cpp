#include "models/language_model.h"

#include <algorithm>

namespace difftensor::inline DT_PRECISION::models {

LanguageModel::LanguageModel(const LanguageModelConfig& c, Random& random)
    : TransformerStack(c, c.layers, language_model_role, random),
      config(c),
      embedding_(add_module<nn::Embedding>("embedding", c.vocab, c.d_model, random)),
      output_(c.tied_output ? nullptr : &add_module<nn::Embedding>("output", c.vocab, c.d_model, random)),
      drop_(add_module<nn::Dropout>("dropout", c.dropout)) {
  require(c.vocab > 0, "LanguageModel", "vocabulary ", c.vocab, " must be positive");
}

Tensor LanguageModel::decode(const std::vector<int32_t>& ids, const nn::Sequences& texts) const {
  return TransformerStack::operator()(embed(ids, texts), texts, {}, nullptr);
}

Tensor LanguageModel::operator()(const std::vector<int32_t>& ids, const std::vector<int64_t>& lengths) const {
  return logits(decode(ids, nn::packed_sequences(lengths)));
}

Tensor LanguageModel::loss(const std::vector<int32_t>& ids, const std::vector<int64_t>& lengths,
                           const std::vector<int32_t>& targets, const CrossEntropyOptions& options) const {
  return linear_cross_entropy(decode(ids, nn::packed_sequences(lengths)), output_weight(), targets, options);
}

Tensor LanguageModel::step(const std::vector<int32_t>& tokens, int32_t position,
                           std::vector<KeyValueCache>& caches) const {
  nn::Sequences texts = nn::packed_sequences(std::vector<int64_t>(tokens.size(), 1));
  std::fill(texts.positions.begin(), texts.positions.end(), position);
  return TransformerStack::operator()(embed(tokens, texts), texts, {}, &caches);
}

std::vector<KeyValueCache> LanguageModel::make_caches(int64_t texts, int64_t capacity) const {
  std::vector<KeyValueCache> caches;
  for (int layer = 0; layer < config.layers; ++layer) caches.emplace_back(texts, capacity);
  return caches;
}

}  // namespace difftensor::inline DT_PRECISION::models
