#pragma once
#include <string>

#include "examples/translate/settings.h"

namespace translate {

/// SIGINT or SIGTERM came, and the training was saved.
struct Interrupted {
  int signal;
};

/// Trains a model and leaves it in the run folder (see run.h), which must be empty or not exist. Reports on stdout. The
/// first SIGINT or SIGTERM makes it save and throw Interrupted. Throws InputError on data or settings that cannot be,
/// before anything is written; std::runtime_error if the loss explodes or is no number, or a file cannot be written.
void train(Settings settings, const std::string& folder);

/// Goes on where the last checkpoint of a run left it: the training ends with the same bits as one that was never
/// interrupted. `given` are settings to change, as JSON: those that an uninterrupted training could have had from its
/// beginning to come to the same checkpoint. Throws InputError naming any others, and as train(). (Where a run had
/// ended amid an epoch and is given a later end, it keeps a validation and a checkpoint that others would not have
/// made.)
void resume(const nlohmann::json& given, const std::string& folder);

}  // namespace translate
