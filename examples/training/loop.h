#pragma once
// The training loop, the same for every program.
#include <stdexcept>

#include "examples/training/loop_settings.h"
#include "examples/training/run_folder.h"
#include "examples/training/task.h"

namespace training {

/// A training begins; or it goes on, to the end that it had or to a new one.
enum class Start { anew, resume, resume_to_new_end };

/// The loss explodes; or it, the norm of the gradient or the loss of a validation is not finite.
struct Astray : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Together (ranks.h): trains `task` into a run folder (run_folder.h), which rank 0 has locked, and reports on stdout.
/// One that goes on ends with the same bits as one that was never interrupted. (Where a run had ended amid an epoch and
/// is given a later end, it keeps a validation and a checkpoint that others would not have made.) `all` are the
/// settings for config.json, `s` those of the loop among them.
///
/// The first SIGINT or SIGTERM makes it save and throw Interrupted. Throws Astray, and std::runtime_error if a file
/// cannot be written.
void train(Task& task, const SettingList& all, const LoopSettings& s, const std::string& folder, Start start);

}  // namespace training
