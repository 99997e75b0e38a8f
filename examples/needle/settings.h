#pragma once
// Every setting of one training. The defaults are those of the first study.
#include "examples/training/train_command.h"

namespace needle {

using namespace training;

struct Settings : TrainSettings {
  Settings();
  Settings(const Settings& other) : Settings() { assign(other); }

  Group data{*this, "Data"};
  Setting<std::string> task{data, "task", "needle1",
                            "needle1 (one-token keys) or needle2 (two tokens, near keys distract)",
                            one_of({"needle1", "needle2"})};
  Setting<int64_t> check_every{data, "check_every", 50, "updates between validations", at_least<int64_t>(1)};
  Setting<int64_t> check_sequences{
      data, "check_sequences", 64,
      "sequences of each, eight questions in each; the tests at the end have four times as many",
      between<int64_t>(1, 1000000)};
  Group model{*this, "Model"};
  Setting<std::string> arm{model, "arm", "diff", "kind of attention: examples/needle/README.md has the list"};
  LoopSettings loop_settings{*this};

  const LoopSettings& loop() const override { return loop_settings; }
  std::unique_ptr<Task> make_task(const std::string& folder) const override;
  void change(const nlohmann::json& values, const std::string& source) override;
  /// Fills in what depends on the task: updates, and the learning rate at the end, a tenth of the peak.
  void resolve() override;
};

}  // namespace needle
