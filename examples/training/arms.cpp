#include "examples/training/arms.h"

#include <algorithm>
#include <cmath>

namespace training {

namespace models = difftensor::models;
using difftensor::Random;
using models::AttentionKind;

namespace {
struct Arm {
  std::string name;
  AttentionKind attention;
  int heads_per_pair;
  bool head_norm;
  std::optional<difftensor::Scalar> lambda_init = {};
};
const std::vector<Arm>& arms() {
  static const std::vector<Arm> all{{"softmax", AttentionKind::softmax, 2, false},
                                    {"softmax-wide", AttentionKind::softmax, 1, false},
                                    {"softmax-norm", AttentionKind::softmax, 2, true},
                                    {"softmax-wide-norm", AttentionKind::softmax, 1, true},
                                    {"diff", AttentionKind::diff, 1, true},
                                    {"diff-nonorm", AttentionKind::diff, 1, false},
                                    {"diff-0.8", AttentionKind::diff, 1, true, difftensor::Scalar(0.8)},
                                    {"diff-0.5", AttentionKind::diff, 1, true, difftensor::Scalar(0.5)},
                                    {"diff-v2", AttentionKind::diff_v2, 2, false},
                                    {"diff-v2-norm", AttentionKind::diff_v2, 2, true}};
  return all;
}
}  // namespace

const std::vector<std::string>& arm_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Arm& arm : arms()) all.push_back(arm.name);
    return all;
  }();
  return names;
}

models::LanguageModelConfig arm_config(const std::string& name, const models::LanguageModelConfig& base) {
  const auto arm = std::find_if(arms().begin(), arms().end(), [&](const Arm& a) { return a.name == name; });
  difftensor::require(arm != arms().end(), "arm_config", "there is no arm \"", name, "\"");
  models::LanguageModelConfig c = base;
  c.heads = base.heads * arm->heads_per_pair;
  c.attention = arm->attention, c.head_norm = arm->head_norm, c.lambda_init = arm->lambda_init;
  if (c.attention == AttentionKind::diff_v2) {
    // D^2 weights for the second queries and D h for lambda, paid for by the three matrices of the feed-forward.
    const auto D = static_cast<double>(c.d_model);
    c.ff -= std::lround((D * D + D * c.heads) / (3 * D));
  }
  return c;
}

std::unique_ptr<models::LanguageModel> make_arm(const std::string& arm, const models::LanguageModelConfig& base,
                                                uint64_t seed) {
  const auto fresh = [&](const std::string& name) {
    Random random(seed);
    return std::make_unique<models::LanguageModel>(arm_config(name, base), random);
  };
  auto model = fresh(arm);
  const auto common = fresh("softmax")->state_dict();
  auto state = model->state_dict();
  for (auto& [name, values] : state)
    if (const auto other = common.find(name); other != common.end() && other->second.shape() == values.shape())
      values = other->second;
  model->load_state_dict(state);
  return model;
}

}  // namespace training
