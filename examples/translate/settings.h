#pragma once
// Every setting of a translation training, in one place. The defaults train the built-in task.
#include "examples/text/corpus.h"
#include "examples/training/train_command.h"
#include "models/transformer.h"

namespace translate {

using namespace text;
using namespace training;

struct Settings : TrainSettings {
  Settings() { loop_settings.max_epochs.help = "passes over the data [10, of a task 2; no limit with --max-updates]"; }
  Settings(const Settings& other) : Settings() { assign(other); }

  // --- Data: a built-in task, or files of one sentence a line; a TSV has both sides. Without files for validation,
  // every hundredth pair (at most 500) is held out ---
  Group data{*this, "Data"};
  static constexpr auto may_change = OnResume::may_change;  // the content is checked, wherever it lies now
  Setting<std::string> task{data, "task", "", "a built-in task: numbers or reverse [numbers, without files]",
                            one_of({"numbers", "reverse"})};
  Setting<int64_t> pairs{data, "pairs", 60000, "pairs to draw for a task", at_least<int64_t>(1)};
  Setting<std::string> train{data, "train", "", "pairs to train on: a TSV of source and target", {}, may_change};
  Setting<std::string> valid{data, "valid",
                             "",   "pairs to validate on: a TSV [of those to train on every hundredth, 500 at most]",
                             {},   may_change};
  Setting<std::string> train_src{data, "train_src", "", "or two files, one sentence a line: source", {}, may_change};
  Setting<std::string> train_tgt{data, "train_tgt", "", "and target", {}, may_change};
  Setting<std::string> valid_src{data, "valid_src", "", "the same to validate on", {}, may_change};
  Setting<std::string> valid_tgt{data, "valid_tgt", "", "and target", {}, may_change};
  Setting<double> distractors{data, "distractors", 0,
                              "mark every source ⟦ so ⟧, and put an unrelated one before or after this share of them",
                              fraction()};
  Setting<int> vocab_size{data, "vocab_size", 0, "subwords at most [160 for a task, 8000 for files]",
                          between(1, 10000000)};
  Setting<int64_t> max_length{data, "max_length", 256, "tokens a sentence may have; a longer one is an error",
                              between<int64_t>(1, 1000000)};
  Setting<double> max_length_factor{
      data,
      "max_length_factor",
      1.5,
      "the model's translations are cut off after so many times their source's tokens, plus 10",
      {[](double x) { return x > 0 && x <= 1000; }, "must be positive, and at most 1000"}};

  // --- Model: a preset sets the sizes ---
  Group model_group{*this, "Model"};
  Setting<std::string> preset{model_group, "preset", "",
                              "sizes: toy, tiny, small, base [toy for a task, tiny for files]",
                              one_of({"toy", "tiny", "small", "base"})};
  Setting<std::string> attention{model_group, "attention", "diff", "softmax, diff or diff-v2"};
  Setting<std::string> style{model_group, "style", "llama", "llama or vaswani"};
  Setting<int64_t> d_model{model_group, "d_model", 0, "width, instead of the preset's", between<int64_t>(1, 1000000)};
  Setting<int> heads{model_group, "heads", 0, "output heads, instead of the preset's", between(1, 1000000)};
  Setting<int64_t> ff{model_group, "ff", 0, "feed-forward width, instead of the preset's",
                      between<int64_t>(1, 1000000)};
  Setting<int> layers{model_group, "layers", 0, "layers of each stack, instead of the preset's", between(1, 1000)};
  Setting<double> dropout{model_group, "dropout", -1, "[0 for a task, 0.1 for files]", fraction()};

  // --- Training. An epoch has as many updates as there are batches of batch_tokens, (longest side) x (sentences), when
  // pairs are sorted by length. An update's gradient is accumulated from pieces of 256 tokens: memory does not grow
  // with it ---
  Group training{*this, "Training"};
  Setting<int64_t> batch_tokens{training, "batch_tokens", 0,
                                "tokens of an update, on the longer side, accumulated in pieces of 256 [1024 for a "
                                "task, 2048 for files]",
                                at_least<int64_t>(1)};
  Setting<double> label_smoothing{training, "label_smoothing", -1, "[0 for a task, 0.1 for files]", fraction()};
  LoopSettings loop_settings{*this};
  Setting<bool> overfit_one_batch{training, "overfit_one_batch", false,
                                  "train and validate on one batch: can the model learn?"};

  const LoopSettings& loop() const override { return loop_settings; }
  std::unique_ptr<Task> make_task(const std::string& folder) const override;
  /// Where the new values name another preset or attention, sizes that they do not name are those of the preset again;
  /// where they name one of max_epochs and max_updates, the other is no limit any more; and where they name one kind of
  /// data (a task, a TSV, two files), the others are not used any more.
  void change(const nlohmann::json& values, const std::string& source) override;
  /// Fills in what depends on other settings.
  void resolve() override;
  /// The model these settings describe, for a vocabulary of this size.
  difftensor::models::TransformerConfig model(int64_t vocabulary) const;
};

}  // namespace translate
