#include "examples/training/lambdas.h"

#include <numeric>

namespace training {

using namespace difftensor;

NamedAttentions attentions_of(const models::TransformerStack& stack, const std::string& prefix) {
  NamedAttentions found;
  for (size_t i = 0; i < stack.layers().size(); ++i) {
    const models::TransformerLayer& layer = stack.layers()[i];
    const std::string name = prefix + "layers." + std::to_string(i);
    found.emplace_back(name + ".self_attn", &layer.self_attn);
    if (layer.cross_attn) found.emplace_back(name + ".cross_attn", layer.cross_attn);
  }
  return found;
}

std::vector<std::string> names_of(const NamedAttentions& attentions) {
  std::vector<std::string> names;
  for (const auto& [name, attention] : attentions) names.push_back(name);
  return names;
}

LambdaMeter::LambdaMeter(const NamedAttentions& attentions) {
  for (const auto& [name, attention] : attentions) attentions_.emplace_back(*attention);
}

void LambdaMeter::append_sums(std::vector<double>& sums) const {
  for (const AttentionListener& attention : attentions_) {
    const std::vector<Scalar> values = attention.trace.lambda.values();
    sums.push_back(std::accumulate(values.begin(), values.end(), 0.0));
    sums.push_back(static_cast<double>(values.size()));
  }
}

std::vector<double> LambdaMeter::means(std::span<const double> sums) {
  std::vector<double> means;
  for (size_t i = 0; i < sums.size(); i += 2) means.push_back(sums[i] / sums[i + 1]);
  return means;
}

}  // namespace training
