#include "examples/language_model/settings.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "examples/training/arms.h"

namespace language_model {

namespace models = difftensor::models;

void Settings::change(const nlohmann::json& values, const std::string& source) {
  if (values.contains("arm")) attention.reset(), head_norm.reset(), lambda_init.reset(), heads.reset();
  if (values.contains("attention")) heads.reset();
  loop_settings.forget_limits(values);
  update(values, source);
  for (const SettingBase* chosen :
       std::initializer_list<const SettingBase*>{&attention, &head_norm, &lambda_init, &heads})
    if (!arm.is_default() && values.contains(chosen->name)) refuse(*chosen);
}

void Settings::refuse(const SettingBase& chosen) const {
  throw InputError("--arm " + arm.value + " and " + chosen.flag() + ": the arm chooses that");
}

void Settings::resolve() {
  const bool own_sources = train.is_default();
  if (own_sources) {
    if (!std::filesystem::exists("core/tensor.h"))
      throw InputError("--train is missing, and difftensor's own sources, to learn from without it, are not here");
    train = {"core", "nn", "optim", "models", "examples", "tests"};
    if (suffixes.is_default()) suffixes = {".h", ".cpp"};
  }
  if (!check_every.is_default() && loop_settings.max_updates == 0)
    throw InputError("--check-every: say with --max-updates how long the training is, not with --max-epochs");
  if (loop_settings.max_epochs == 0 && loop_settings.max_updates == 0) loop_settings.max_epochs = own_sources ? 6 : 10;
  TrainSettings::resolve();
  loop_settings.check();
  if (batch_tokens < context)
    throw InputError(format("--batch-tokens %ld: an update has one context at least, of --context %ld tokens",
                            batch_tokens.value, context.value));
  const models::LanguageModelConfig c = model(1);
  if (arm.is_default()) {
    if (attention != "diff" && !lambda_init.is_default())
      throw InputError("--lambda-init is of --attention diff, not of " + attention.value);
    heads = c.heads;
    return;
  }
  const auto choose = [&](auto& setting, const auto& value) {  // a file may say it too, as config.json does
    if (!setting.is_default() && setting.value != value) refuse(setting);
    setting = value;
  };
  choose(attention, models::to_string(c.attention));
  choose(head_norm, *c.head_norm ? "yes" : "no");
  choose(heads, c.heads);
  if (!lambda_init.is_default()) refuse(lambda_init);
}

models::LanguageModelConfig Settings::model(int64_t vocabulary) const {
  models::LanguageModelConfig c = base(vocabulary);
  if (!arm.is_default()) return arm_config(arm, c);
  c.attention = models::attention_from_string(attention);
  if (head_norm != "published") c.head_norm = head_norm == "yes";
  if (!lambda_init.is_default()) c.lambda_init = static_cast<difftensor::Scalar>(lambda_init);
  // Differential attention has half the output heads, each of two maps: the same number of maps of the same width.
  if (c.attention != models::AttentionKind::diff) c.heads = std::max(1, static_cast<int>(c.d_model / 32));
  if (heads) c.heads = heads;
  return c;
}

std::unique_ptr<models::LanguageModel> Settings::make_model(int64_t vocabulary) const {
  if (!arm.is_default()) return make_arm(arm, base(vocabulary), loop_settings.seed);
  difftensor::Random random(loop_settings.seed);
  return std::make_unique<models::LanguageModel>(model(vocabulary), random);
}

models::LanguageModelConfig Settings::base(int64_t vocabulary) const {
  models::LanguageModelConfig c;
  c.style = models::style_from_string(style);
  c.vocab = vocabulary;
  c.d_model = d_model;
  c.heads = std::max(1, static_cast<int>(c.d_model / 64));
  c.ff = ff;
  c.layers = layers;
  c.tied_output = !untied;
  c.dropout = static_cast<difftensor::Scalar>(dropout);
  return c;
}

}  // namespace language_model
