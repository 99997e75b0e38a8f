#pragma once
// A study's results by arm, and drawn.
#include "examples/needle/study.h"

namespace needle {

using training::ArmRecords;

/// updates_to(accuracy) of every record; infinity for never.
std::vector<double> updates(const ArmRecords& arm, double accuracy);
/// How many of its trainings solved the task.
int64_t solved(const ArmRecords& arm);
/// Where a record has the mass in the second layer: normalisation "signed" or "absolute"; answer and noise of the mean
/// of heads, then of the best head.
std::string mass_path(const std::string& normalisation, size_t index);

/// STUDY-curves.svg: how each arm learned. STUDY-arms.svg: when each seed came there, and what it does in longer
/// contexts. STUDY-attention.svg: where the models look.
void draw_pictures(const Study& study, const std::vector<ArmRecords>& arms, const std::string& folder);

}  // namespace needle
