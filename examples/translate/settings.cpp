#include "examples/translate/settings.h"

#include <algorithm>
#include <map>

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
}  // namespace

void Settings::resolve() {
  const bool files = !train.empty() || !train_src.empty() || !train_tgt.empty();
  if (files) task.clear();
  if (files && !train.empty() && !train_src.empty()) throw InputError("--train and --train-src: give one or the other");
  if (files && train.empty() && (train_src.empty() || train_tgt.empty()))
    throw InputError("--train-src and --train-tgt go together");
  if (valid_src.empty() != valid_tgt.empty()) throw InputError("--valid-src and --valid-tgt go together");
  if (!files && task != "numbers" && task != "reverse")
    throw InputError("--task " + task + ": there are numbers and reverse");
  if (vocab_size == 0) vocab_size = files ? 8000 : 160;
  if (preset.empty()) preset = files ? "tiny" : "toy";
  if (!presets.count(preset)) throw InputError("--preset " + preset + ": there are toy, tiny, small and base");
  if (dropout < 0) dropout = files ? 0.1 : 0;
  if (label_smoothing < 0) label_smoothing = files ? 0.1 : 0;
  if (batch_tokens == 0) batch_tokens = files ? 2048 : 1024;
  if (schedule != "inverse-sqrt" && schedule != "cosine")
    throw InputError("--schedule " + schedule + ": there are inverse-sqrt and cosine");
  if (max_epochs == 0) max_epochs = max_updates > 0 ? max_updates : files ? 10 : 2;
  for (auto [value, name] : {std::pair{pairs, "--pairs"},
                             {batch_tokens, "--batch-tokens"},
                             {max_length, "--max-length"},
                             {warmup, "--warmup"},
                             {max_epochs, "--max-epochs"},
                             {log_every, "--log-every"}})
    if (value < 1) throw InputError(std::string(name) + " " + std::to_string(value) + ": must be positive");
  if (max_updates < 0) throw InputError("--max-updates " + std::to_string(max_updates) + ": must not be negative");
  if (!(lr > 0) || !(clip_norm > 0)) throw InputError("--lr and --clip-norm must be positive");
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
