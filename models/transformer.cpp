#include "models/transformer.h"

#include <algorithm>

namespace difftensor::inline DT_PRECISION::models {

Transformer::Transformer(const TransformerConfig& c, Random& random)
    : config(c),
      embedding_(add_module<nn::Embedding>("embedding", c.vocab, c.d_model, random)),
      encoder_(add_module<TransformerStack>("encoder", c, c.encoder_layers, encoder_role, random)),
      decoder_(add_module<TransformerStack>("decoder", c, c.decoder_layers, decoder_role, random)),
      drop_(add_module<nn::Dropout>("dropout", c.dropout)) {
  require(c.vocab > 0, "Transformer", "vocabulary ", c.vocab, " must be positive");
}

Tensor Transformer::embed(const std::vector<int32_t>& ids, const nn::Sequences& sentences) const {
  return drop_(models::embed(ids, sentences, embedding_, config.style));
}

Tensor Transformer::encode(const std::vector<int32_t>& source, const nn::Sequences& sentences) const {
  return encoder_(embed(source, sentences), sentences, {}, nullptr);
}

std::vector<nn::KeyValues> Transformer::memory_keys_values(const Tensor& memory, const nn::Sequences& sentences) const {
  std::vector<nn::KeyValues> all;
  for (const auto* layer : decoder_.layers()) all.push_back(layer->cross_attn->keys_values(memory, sentences));
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
