#pragma once
// What a model looks at while it reads a text.
#include <vector>

#include "examples/language_model/trained_model.h"
#include "examples/training/attention_maps.h"

namespace language_model {

/// The maps of a text in one head, by numbers from 1; if the layer is 0, in the head that looks most decidedly. The
/// model must have differential attention. Throws InputError if there is no such layer or head.
training::AttentionFigure attention_picture(const TrainedModel& trained, const std::vector<int32_t>& ids, int layer = 0,
                                            int head = 1);

}  // namespace language_model
