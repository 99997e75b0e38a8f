#pragma once
// The settings of the training loop: the same in every program.
#include "examples/training/settings.h"
#include "optim/schedule.h"

namespace training {

/// How long to train, how fast to learn, what to report and to keep. A member of a program's settings.
struct LoopSettings {
  explicit LoopSettings(SettingList& list) : training{list, "Training"} {}
  Group training;

  // --- The rule of an update ---
  Setting<double> lr{training, "lr", 0.003, "peak learning rate", positive()};
  Setting<int64_t> warmup{training, "warmup", 200, "updates to reach it", at_least<int64_t>(1)};
  Setting<std::string> schedule{training, "schedule", "cosine",
                                "from the peak on: cosine, to --min-lr after the last update, or inverse-sqrt",
                                one_of({"inverse-sqrt", "cosine"})};
  Setting<double> min_lr{training,
                         "min_lr",
                         0,
                         "where cosine ends",
                         {[](double x) { return x >= 0 && std::isfinite(x); }, "must be at least 0, and finite"}};
  Setting<double> weight_decay{training, "weight_decay", 0.01, "AdamW's, of every parameter"};
  Setting<double> beta1{training, "beta1", 0.9, "AdamW's: how long it remembers gradients", fraction()};
  Setting<double> beta2{training, "beta2", 0.98, "and their squares", fraction()};
  Setting<double> eps{training, "eps", 1e-8, "AdamW's: keeps small gradients from making large steps", positive()};
  Setting<double> clip_norm{training, "clip_norm", 1, "longest gradient", positive()};

  // --- How long. An epoch has as many updates as the task says; with both limits, the first that is reached counts ---
  Setting<int64_t> max_epochs{
      training, "max_epochs", 0, "passes over the data [no limit]", at_least<int64_t>(1), OnResume::may_change};
  Setting<int64_t> max_updates{training, "max_updates", 0, "stop there", at_least<int64_t>(1), OnResume::may_change};
  Setting<uint64_t> seed{training, "seed", 1, "fixes everything that is random"};

  // --- Validation, at the end of every epoch ---
  Setting<std::string> best_by{training, "best_by", "loss",
                               "what makes the best model: loss, or another figure of the validation, such as bleu"};
  Setting<int64_t> patience{training,
                            "patience",
                            0,
                            "end after so many validations that were no better [never]",
                            at_least<int64_t>(0),
                            OnResume::may_change};
  Setting<double> goal{training,
                       "goal",
                       0,
                       "end when the figure of --best-by has been this good in five validations in a row; 0: never",
                       {[](double x) { return x >= 0 && std::isfinite(x); }, "must be at least 0, and finite"}};

  // --- What is kept and told ---
  Setting<int64_t> average{training, "average", 0,
                           "keep so many checkpoints, the oldest going first, and average them at the end [none]",
                           at_least<int64_t>(0)};
  Setting<int64_t> save_every{training, "save_every", 0,
                              "updates between checkpoints [an epoch]; validations come at the end of an epoch",
                              at_least<int64_t>(0)};
  Setting<int64_t> log_every{
      training, "log_every", 50, "updates between reports", at_least<int64_t>(1), OnResume::may_change};

  /// Where `given` names one of the two limits, the other is none any more.
  void forget_limits(const nlohmann::json& given);
  /// Throws text::InputError on settings that do not go together.
  void check() const;
  /// The number of updates in all.
  int64_t total_updates(int64_t updates_per_epoch) const;
  /// The learning rate of each update, for a training of so many.
  difftensor::optim::Schedule learning_rate(int64_t updates) const;
  /// A line to tell of one that does not come to its peak.
  std::string remark(int64_t updates) const;
};

/// Whether --resume may change this setting of a run, whose settings these are. The end of a run stays where the learning
/// rate depends on it.
bool may_change(const SettingBase& setting, const nlohmann::json& settings);

/// Changes the settings of a run that is to go on. Returns whether its end moves. Throws text::InputError naming those
/// that may not change.
bool change_for_resume(SettingList& settings, const nlohmann::json& given, const std::string& folder);

}  // namespace training
