#include "examples/training/lambdas.h"

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

LambdaMeter::LambdaMeter(const NamedAttentions& attentions) : lambdas_(attentions.size()) {
  for (const auto& [name, attention] : attentions) attentions_.emplace_back(*attention);
}

void LambdaMeter::add() {
  for (size_t i = 0; i < lambdas_.size(); ++i) {
    const Tensor& lambda = attentions_[i].trace.lambda;
    for (const Scalar value : lambda.values()) lambdas_[i].first += static_cast<double>(value);
    lambdas_[i].second += lambda.numel();
  }
}

std::vector<double> LambdaMeter::means() const {
  std::vector<double> means;
  for (const auto& [sum, count] : lambdas_) means.push_back(sum / static_cast<double>(count));
  return means;
}

}  // namespace training
