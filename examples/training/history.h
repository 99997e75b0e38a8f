#pragma once
#include <string>

#include "examples/training/charts.h"

namespace training {

/// What train_log.csv and lambda.csv of a run folder tell; there need be no lambda.csv. Throws InputError naming the
/// file and line that cannot be read, or the file that is damaged (read_log).
TrainingHistory read_history(const std::string& folder);

}  // namespace training
