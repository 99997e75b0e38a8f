#pragma once
#include <string>

#include "examples/translate/settings.h"

namespace translate {

/// Trains a model and leaves it in the run folder (see run.h), which must not hold a run yet. Reports on stdout. Throws
/// InputError on data or settings that cannot be, before anything is written; std::runtime_error if the loss is no
/// longer finite.
void train(Settings settings, const std::string& folder);

}  // namespace translate
