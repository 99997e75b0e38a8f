#include "examples/language_model/settings.h"

#include <filesystem>

namespace language_model {

namespace models = difftensor::models;

void Settings::change(const nlohmann::json& values, const std::string& source) {
  if (values.contains("attention")) heads = 0;
  loop_settings.forget_limits(values);
  update(values, source);
}

void Settings::resolve() {
  const bool own_sources = train.is_default();
  if (own_sources) {
    if (!std::filesystem::exists("core/tensor.h"))
      throw InputError("--train is missing, and difftensor's own sources, to learn from without it, are not here");
    train = {"core", "nn", "optim", "models", "examples", "tests"};
    if (suffixes.is_default()) suffixes = {".h", ".cpp"};
  }
  if (loop_settings.max_epochs == 0 && loop_settings.max_updates == 0) loop_settings.max_epochs = own_sources ? 6 : 10;
  TrainSettings::resolve();
  loop_settings.check();
  if (attention != "diff" && !lambda_init.is_default())
    throw InputError("--lambda-init is of --attention diff, not of " + attention.value);
  heads = model(1).heads;
}

models::LanguageModelConfig Settings::model(int64_t vocabulary) const {
  models::LanguageModelConfig c;
  c.attention = models::attention_from_string(attention);
  c.style = models::style_from_string(style);
  if (head_norm != "published") c.head_norm = head_norm == "yes";
  if (!lambda_init.is_default()) c.lambda_init = static_cast<difftensor::Scalar>(lambda_init);
  c.vocab = vocabulary;
  c.d_model = d_model;
  // Differential attention has half the output heads, each of two maps: the same number of maps of the same width.
  const int64_t width = c.attention == models::AttentionKind::diff ? 64 : 32;
  c.heads = heads ? heads : static_cast<int>(std::max<int64_t>(1, c.d_model / width));
  c.ff = ff;
  c.layers = layers;
  c.tied_output = !untied;
  c.dropout = static_cast<difftensor::Scalar>(dropout);
  return c;
}

}  // namespace language_model
