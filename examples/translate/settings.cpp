#include "examples/translate/settings.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>
#include <tuple>

#include "examples/translate/corpus.h"

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

// Whether a value can be that of a setting whose default is `like`.
bool fits(const nlohmann::json& value, const nlohmann::json& like) {
  if (like.is_number_unsigned()) return value.is_number_unsigned();
  if (like.is_number_integer()) return value.is_number_integer();
  return like.is_number() ? value.is_number() : value.type() == like.type();
}

std::string kind(const nlohmann::json& like) {
  return like.is_number_unsigned()  ? "a whole number, not negative"
         : like.is_number_integer() ? "a whole number"
         : like.is_number()         ? "a number"
         : like.is_boolean()        ? "true or false"
                                    : "a string";
}
}  // namespace

void Settings::update(const nlohmann::json& values, const std::string& name) {
  if (!values.is_object()) throw InputError(name + ": not a JSON object of settings");
  nlohmann::json all = *this;
  for (const auto& [key, value] : values.items()) {
    if (!all.contains(key)) throw InputError(name + ": \"" + key + "\" is no setting");
    if (!fits(value, all[key]))
      throw InputError(name + ": \"" + key + "\" must be " + kind(all[key]) + ", not " + value.dump());
    all[key] = value;
  }
  *this = all;
  const nlohmann::json taken = *this;
  for (const auto& [key, value] : values.items())
    if (taken[key] != value) throw InputError(name + ": \"" + key + "\": " + value.dump() + " is too large");
}

void Settings::change(const nlohmann::json& values, const std::string& name) {
  if (values.contains("preset")) d_model = ff = 0, heads = layers = 0;
  if (values.contains("attention")) heads = 0;
  if (values.contains("max_epochs")) max_updates = 0;
  if (values.contains("max_updates")) max_epochs = 0;
  const auto names = [&](const char* first, const char* second) {
    return values.contains(first) || values.contains(second);
  };
  if (names("train", "task")) train_src.clear(), train_tgt.clear();
  if (names("train_src", "train_tgt") || values.contains("task")) train.clear();
  if (names("train_src", "train_tgt") || values.contains("train")) task.clear();
  if (names("valid", "task")) valid_src.clear(), valid_tgt.clear();
  if (names("valid_src", "valid_tgt") || values.contains("task")) valid.clear();
  update(values, name);
}

Settings Settings::read(const std::string& path) {
  Settings settings;
  try {
    settings.update(nlohmann::json::parse(read_file(path)), path);
  } catch (const nlohmann::json::parse_error& e) {
    throw InputError(path + ": not a JSON object of settings: " + e.what());
  }
  return settings;
}

void Settings::resolve() {
  const bool files = !train.empty() || !train_src.empty() || !train_tgt.empty();
  const auto either = [](bool first, bool second, const char* message) {
    if (first && second) throw InputError(std::string(message) + ": give one or the other");
  };
  either(files, !task.empty(), "--task and files to train on");
  either(!train.empty(), !train_src.empty() || !train_tgt.empty(), "--train and --train-src with --train-tgt");
  either(!valid.empty(), !valid_src.empty() || !valid_tgt.empty(), "--valid and --valid-src with --valid-tgt");
  if (train_src.empty() != train_tgt.empty()) throw InputError("--train-src and --train-tgt go together");
  if (valid_src.empty() != valid_tgt.empty()) throw InputError("--valid-src and --valid-tgt go together");
  if (!files && (!valid.empty() || !valid_src.empty()))
    throw InputError("files to validate on need files to train on: a task has its own");
  if (!files && task.empty()) task = "numbers";
  if (!files && task != "numbers" && task != "reverse")
    throw InputError("--task " + task + ": there are numbers and reverse");

  if (vocab_size == 0) vocab_size = files ? 8000 : 160;
  if (preset.empty()) preset = files ? "tiny" : "toy";
  if (!presets.count(preset)) throw InputError("--preset " + preset + ": there are toy, tiny, small and base");
  if (dropout == -1) dropout = files ? 0.1 : 0;
  if (label_smoothing == -1) label_smoothing = files ? 0.1 : 0;
  if (batch_tokens == 0) batch_tokens = files ? 2048 : 1024;
  if (max_epochs == 0 && max_updates == 0) max_epochs = files ? 10 : 2;
  if (schedule != "inverse-sqrt" && schedule != "cosine")
    throw InputError("--schedule " + schedule + ": there are inverse-sqrt and cosine");
  if (best_by != "loss" && best_by != "bleu") throw InputError("--best-by " + best_by + ": there are loss and bleu");

  for (auto [value, least, name] : {std::tuple{pairs, 1, "--pairs"},
                                    {int64_t{vocab_size}, 1, "--vocab-size"},
                                    {max_length, 1, "--max-length"},
                                    {d_model, 0, "--d-model"},
                                    {ff, 0, "--ff"},
                                    {int64_t{heads}, 0, "--heads"},
                                    {int64_t{layers}, 0, "--layers"},
                                    {batch_tokens, 1, "--batch-tokens"},
                                    {warmup, 1, "--warmup"},
                                    {max_epochs, 0, "--max-epochs"},
                                    {max_updates, 0, "--max-updates"},
                                    {patience, 0, "--patience"},
                                    {log_every, 1, "--log-every"},
                                    {save_every, 0, "--save-every"},
                                    {average, 0, "--average"}})
    if (value < least)
      throw InputError(std::string(name) + " " + std::to_string(value) + ": must be at least " + std::to_string(least));
  // Written so that NaN fails too.
  const auto check = [](bool ok, const char* name, double value, const char* rule) {
    std::ostringstream text;
    text << name << " " << value << ": must " << rule;
    if (!ok) throw InputError(text.str());
  };
  check(lr > 0 && std::isfinite(lr), "--lr", lr, "be positive and finite");
  check(max_length_factor > 0 && max_length_factor <= 1000, "--max-length-factor", max_length_factor,
        "be positive, and at most 1000");
  check(clip_norm > 0 && std::isfinite(clip_norm), "--clip-norm", clip_norm, "be positive and finite");
  check(weight_decay >= 0 && weight_decay * lr < 1, "--weight-decay", weight_decay, "be from 0 to below 1 / lr");
  check(eps > 0 && std::isfinite(eps), "--eps", eps, "be positive and finite");
  for (auto [value, name] : {std::pair{dropout, "--dropout"},
                             {label_smoothing, "--label-smoothing"},
                             {beta1, "--beta1"},
                             {beta2, "--beta2"}})
    check(value >= 0 && value < 1, name, value, "be in [0, 1)");
  const models::TransformerConfig c = model(vocab_size);
  d_model = c.d_model, ff = c.ff, heads = c.heads, layers = c.encoder_layers;
}

difftensor::optim::Schedule Settings::learning_rate(int64_t updates) const {
  if (schedule == "inverse-sqrt") return difftensor::optim::inverse_sqrt(lr, warmup);
  return difftensor::optim::cosine(lr, std::min(warmup, updates), updates + 1);
}

models::TransformerConfig Settings::model(int64_t vocabulary) const {
  const Size& size = presets.at(preset);
  models::TransformerConfig c;
  c.attention = models::attention_from_string(attention);
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
