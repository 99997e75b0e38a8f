#pragma once
// How much of their second map the differential attentions of a model subtract.
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "examples/translate/inspect.h"

namespace translate {

/// The mean lambda of each differential attention of a model, over the tokens and heads of all that the model computes
/// while this object lives. A model with softmax attention has none.
class LambdaMeter {
 public:
  explicit LambdaMeter(const difftensor::models::Transformer& model);

  /// Counts the model's last call.
  void add();

  /// In the order of names().
  std::vector<double> means() const;

  /// Where each is: "encoder.layers.0.self_attn", as its parameters are named.
  const std::vector<std::string>& names() const { return names_; }

 private:
  std::vector<std::string> names_;
  std::deque<AttentionListener> attentions_;
  std::vector<std::pair<double, int64_t>> lambdas_;  // sum and count
};

}  // namespace translate
