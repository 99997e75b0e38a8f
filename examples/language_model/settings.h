#pragma once
// Every setting of a language model's training, in one place. The defaults learn from difftensor's own sources.
#include "examples/text/files.h"
#include "examples/training/train_command.h"
#include "models/language_model.h"

namespace language_model {

using namespace text;
using namespace training;

struct Settings : TrainSettings {
  Settings() {
    loop_settings.max_epochs.help = "passes over the data [10, of its own sources 6; no limit with --max-updates]";
  }
  Settings(const Settings& other) : Settings() { assign(other); }

  // --- Text: files and folders. The last tenth of every file is held out and never trained on, or whole files are ---
  using Paths = std::vector<std::string>;
  Group data{*this, "Text"};
  static constexpr auto may_change = OnResume::may_change;  // the content is checked, wherever it lies now
  Setting<Paths> train{data, "train", {}, "files and folders to learn from [difftensor's own sources]", {}, may_change};
  Setting<Paths> suffixes{
      data, "suffixes", {}, "of folders, only files whose names end so [all; .h .cpp of the sources]"};
  Setting<Paths> valid{data, "valid",
                       {},   "files and folders to validate on [the end of each file that is learned from]",
                       {},   may_change};
  Setting<double> held_out{data, "held_out", 0.1, "the part of each file that is held out, at its end, without --valid",
                           fraction()};
  Setting<int> vocab_size{data, "vocab_size", 1024, "subwords to learn at most; 0: the tokens are bytes",
                          between(0, 10000000)};

  // --- Model ---
  Group model_group{*this, "Model"};
  Setting<int64_t> context{model_group, "context", 256, "tokens that the model learns to look back over",
                           between<int64_t>(2, 1000000)};
  Setting<std::string> arm{model_group, "arm", "",
                           "an arm of a study (examples/training/arms.h): it chooses attention, head norm and heads, "
                           "and pairs the initial weights"};
  Setting<std::string> attention{model_group, "attention", "diff", "softmax, diff or diff-v2"};
  Setting<std::string> head_norm{model_group, "head_norm", "published",
                                 "normalise each head's result: yes, no, or published: in diff alone",
                                 one_of({"published", "yes", "no"})};
  Setting<double> lambda_init{model_group, "lambda_init", -1, "of diff, for every layer [0.8 - 0.6 exp(-0.3 depth)]",
                              fraction()};
  Setting<std::string> style{model_group, "style", "llama", "llama or vaswani"};
  Setting<int> layers{model_group, "layers", 4, "layers", between(1, 1000)};
  Setting<int64_t> d_model{model_group, "d_model", 128, "width", between<int64_t>(1, 1000000)};
  Setting<int> heads{model_group, "heads", 0, "output heads [one for each 32 of the width; diff: for each 64]",
                     between(1, 1000000)};
  Setting<int64_t> ff{model_group, "ff", 256, "feed-forward width", between<int64_t>(1, 1000000)};
  Setting<bool> untied{model_group, "untied", false, "the output layer has a weight of its own, not the embedding's"};
  Setting<double> dropout{model_group, "dropout", 0, "of embeddings and of each sublayer's output", fraction()};

  // --- Training. An epoch has every token once, in contexts that are cut elsewhere in each epoch ---
  Group training{*this, "Training"};
  Setting<int64_t> batch_tokens{training, "batch_tokens", 2048, "tokens of an update", at_least<int64_t>(1)};
  Setting<int64_t> check_every{training, "check_every", 0, "updates between validations [an epoch's]",
                               at_least<int64_t>(1)};
  LoopSettings loop_settings{*this};

  const LoopSettings& loop() const override { return loop_settings; }
  std::unique_ptr<Task> make_task(const std::string& folder) const override;
  /// Where the new values name another attention, the number of heads is its own again; where they name an arm, all is
  /// that it chooses; where they name one of max_epochs and max_updates, the other is no limit any more. Throws
  /// InputError if they name what the arm chooses.
  void change(const nlohmann::json& values, const std::string& source) override;
  /// Fills in what depends on other settings. Throws InputError if there is an arm, and something else than it chooses.
  void resolve() override;
  /// The model these settings describe, for a vocabulary of this size.
  difftensor::models::LanguageModelConfig model(int64_t vocabulary) const;
  /// A new one, as the seed has it; of an arm, paired with those of the others.
  std::unique_ptr<difftensor::models::LanguageModel> make_model(int64_t vocabulary) const;

 private:
  [[noreturn]] void refuse(const SettingBase& chosen) const;  // as the arm chooses it
  // The model without what the arm chooses; heads are the pairs of differential attention.
  difftensor::models::LanguageModelConfig base(int64_t vocabulary) const;
};

}  // namespace language_model
