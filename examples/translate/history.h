#pragma once
#include <string>

#include "examples/translate/charts.h"

namespace translate {

/// What train_log.csv and lambda.csv of a run folder tell; there need be no lambda.csv. Throws InputError naming the
/// file and line that cannot be read.
TrainingHistory read_history(const std::string& folder);

}  // namespace translate
