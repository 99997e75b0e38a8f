#pragma once
// The models that are compared: examples/training/arms.h, at the size of this experiment.
#include "examples/training/arms.h"

namespace needle {

using training::arm_names;

/// The model of an arm: D = 128, two layers, h = 4, feed-forward 256, output not tied. Throws std::invalid_argument on
/// a name that is none of arm_names().
difftensor::models::LanguageModelConfig arm_config(const std::string& arm, int64_t vocab);

/// A newly initialised model, paired with those of other arms.
std::unique_ptr<difftensor::models::LanguageModel> make_model(const std::string& arm, int64_t vocab, uint64_t seed);

}  // namespace needle
