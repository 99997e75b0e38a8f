#pragma once
// The subcommand `train`: from settings to a task, from a task to a run folder.
#include <functional>
#include <memory>
#include <string>

#include "examples/training/loop_settings.h"
#include "examples/training/task.h"

namespace training {

/// A program's settings, which know how to make its task.
class TrainSettings : public SettingList {
 public:
  /// The loop's own among them.
  virtual const LoopSettings& loop() const = 0;
  /// Reads the data and makes the model. Of a run that goes on, what was learned from the data is read from its
  /// `folder`; for a new run that is empty. Throws text::InputError on data that cannot be trained on.
  virtual std::unique_ptr<Task> make_task(const std::string& folder) const = 0;
};

/// Adds `train`, with a flag for every setting, --run, --config, --resume and --threads. `make` gives a program's
/// settings with their defaults.
void add_train_command(CLI::App& app, const std::function<std::unique_ptr<TrainSettings>()>& make);

}  // namespace training
