#pragma once
// The arms of an experiment with language models: attentions, and the controls that tell what each part of them does.
#include <memory>
#include <string>
#include <vector>

#include "models/language_model.h"

namespace training {

/// With h pairs, d = D / 2h:
///   softmax            2h heads of width d             softmax-norm        the same, with diff's head norm
///   softmax-wide       h heads of width 2d             softmax-wide-norm   the same, with diff's head norm
///   diff               as published: h pairs of width d, values 2d wide, head norm, lambda_init by depth
///   diff-nonorm        without the norm, and without the factor 1 - lambda_init
///   diff-0.8, diff-0.5 lambda_init fixed
///   diff-v2            as published: 2h heads of width d, two queries each, lambda from the token, no norm
///   diff-v2-norm       the same, with diff's head norm
/// softmax-wide-norm is diff's control: as many heads, values as wide, the same norm. What is left between them is the
/// second map and its price: diff's queries and keys are half as wide, and its result has the factor 1 - lambda_init.
const std::vector<std::string>& arm_names();

/// `base`, whose heads are the h pairs, with the attention of this arm. diff-v2 has more queries, and so a narrower
/// feed-forward: all arms have the same number of parameters, to 1%. Throws std::invalid_argument on a name that is
/// none of arm_names().
difftensor::models::LanguageModelConfig arm_config(const std::string& arm,
                                                   const difftensor::models::LanguageModelConfig& base);

/// A newly initialised model. Arms are paired: of one seed and base, all parameters that agree in name and shape begin
/// with the same bits, whatever the arms.
std::unique_ptr<difftensor::models::LanguageModel> make_arm(const std::string& arm,
                                                            const difftensor::models::LanguageModelConfig& base,
                                                            uint64_t seed);

}  // namespace training
