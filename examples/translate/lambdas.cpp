#include "examples/translate/lambdas.h"

namespace translate {

using namespace difftensor;

LambdaMeter::LambdaMeter(const models::Transformer& model) {
  if (model.config.attention == models::AttentionKind::softmax) return;
  const auto listen = [&](const std::string& name, nn::Attention& attention) {
    names_.push_back(name);
    attentions_.emplace_back(attention);
  };
  const auto listen_to_stack = [&](const std::string& stack, const models::TransformerStack& layers) {
    for (size_t i = 0; i < layers.layers().size(); ++i) {
      const std::string layer = stack + ".layers." + std::to_string(i);
      listen(layer + ".self_attn", *layers.layers()[i]->self_attn);
      if (auto& cross = layers.layers()[i]->cross_attn) listen(layer + ".cross_attn", *cross);
    }
  };
  listen_to_stack("encoder", model.encoder());
  listen_to_stack("decoder", model.decoder());
  lambdas_.resize(names_.size());
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

}  // namespace translate
