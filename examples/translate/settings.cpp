#include "examples/translate/settings.h"

#include <map>
#include <nlohmann/json.hpp>

namespace translate {

namespace models = difftensor::models;

namespace {
struct Size {
  int64_t width;
  int heads, layers;  // heads of softmax attention, 32 or 64 wide; each stack has `layers`
  int64_t ff;
};
const std::map<std::string, Size> presets{
    {"toy", {128, 4, 2, 256}}, {"tiny", {128, 4, 4, 256}}, {"small", {256, 8, 3, 704}}, {"base", {512, 8, 6, 1408}}};
}  // namespace

void Settings::change(const nlohmann::json& values, const std::string& source) {
  if (values.contains("preset")) d_model = 0, ff = 0, heads = 0, layers = 0;
  if (values.contains("attention")) heads = 0;
  loop_settings.forget_limits(values);
  const auto names = [&](const char* first, const char* second) {
    return values.contains(first) || values.contains(second);
  };
  if (names("train", "task")) train_src = "", train_tgt = "";
  if (names("train_src", "train_tgt") || values.contains("task")) train = "";
  if (names("train_src", "train_tgt") || values.contains("train")) task = "";
  if (names("valid", "task")) valid_src = "", valid_tgt = "";
  if (names("valid_src", "valid_tgt") || values.contains("task")) valid = "";
  update(values, source);
}

void Settings::resolve() {
  const bool files = !train.is_default() || !train_src.is_default() || !train_tgt.is_default();
  const auto either = [](bool first, bool second, const char* message) {
    if (first && second) throw InputError(std::string(message) + ": give one or the other");
  };
  either(files, !task.is_default(), "--task and files to train on");
  either(!train.is_default(), !train_src.is_default() || !train_tgt.is_default(),
         "--train and --train-src with --train-tgt");
  either(!valid.is_default(), !valid_src.is_default() || !valid_tgt.is_default(),
         "--valid and --valid-src with --valid-tgt");
  if (train_src.is_default() != train_tgt.is_default()) throw InputError("--train-src and --train-tgt go together");
  if (valid_src.is_default() != valid_tgt.is_default()) throw InputError("--valid-src and --valid-tgt go together");
  if (!files && (!valid.is_default() || !valid_src.is_default()))
    throw InputError("files to validate on need files to train on: a task has its own");
  if (!files && task.is_default()) task = "numbers";

  if (vocab_size.is_default()) vocab_size = files ? 8000 : 160;
  if (preset.is_default()) preset = files ? "tiny" : "toy";
  if (dropout.is_default()) dropout = files ? 0.1 : 0;
  if (label_smoothing.is_default()) label_smoothing = files ? 0.1 : 0;
  if (batch_tokens.is_default()) batch_tokens = files ? 2048 : 1024;
  if (loop_settings.max_epochs == 0 && loop_settings.max_updates == 0) loop_settings.max_epochs = files ? 10 : 2;
  TrainSettings::resolve();
  loop_settings.check();
  const models::TransformerConfig c = model(vocab_size);
  d_model = c.d_model, ff = c.ff, heads = c.heads, layers = c.encoder_layers;
}

models::TransformerConfig Settings::model(int64_t vocabulary) const {
  const Size& size = presets.at(preset.value);
  models::TransformerConfig c;
  c.attention = models::attention_from_string(attention.value);
  c.style = models::style_from_string(style);
  c.vocab = vocabulary;
  c.d_model = d_model ? d_model : size.width;
  // Differential attention has half the output heads, each of two maps: the same number of maps of the same width.
  c.heads = heads ? heads : c.attention == models::AttentionKind::diff ? size.heads / 2 : size.heads;
  c.ff = ff ? ff : size.ff;
  c.encoder_layers = c.decoder_layers = layers ? layers : size.layers;
  c.dropout = static_cast<difftensor::Scalar>(dropout);
  return c;
}

}  // namespace translate
