#pragma once
// A study's results by arm, and drawn.
#include "examples/needle/study.h"

namespace needle {

using training::ArmRecords;

/// updates_to(accuracy) of every record; infinity for never, and for each that went astray.
std::vector<double> updates(const ArmRecords& arm, double accuracy);
/// The arm with those of its trainings alone that solved the task. What is told of a mean or median over these is not of
/// a mixture of failures and successes.
ArmRecords solved(const ArmRecords& arm);
/// Where a record has the mass in the second layer: normalisation "signed" or "absolute"; answer and noise of the mean
/// of heads, then of the best head.
std::string mass_path(const std::string& normalisation, size_t index);

/// STUDY-curves.svg: how each arm learned. STUDY-arms.svg: when each seed came there, and its cost. Then of the seeds
/// that solved the task: STUDY-tests.svg, longer contexts, depth, more needles and questions; STUDY-attention.svg, where
/// the models look, and lambda; STUDY-magnitudes.svg, the largest logits and hidden states.
void draw_pictures(const Study& study, const std::vector<ArmRecords>& arms, const std::string& folder);

}  // namespace needle
