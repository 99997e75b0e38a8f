#pragma once
// A study's results by arm, and drawn.
#include <algorithm>

#include "examples/needle/study.h"

namespace needle {

/// An arm, and what its reported seeds told.
struct ArmRecords {
  std::string arm;
  double lr;
  Records records;

  /// The number at this place of every record, such as "/tests/context x2/accuracy".
  std::vector<double> values(const std::string& path) const;
  /// updates_to(accuracy) of every record; infinity for never.
  std::vector<double> updates(double accuracy) const;
  /// How many solved the task.
  int64_t solved() const { return std::count_if(records.begin(), records.end(), is_solved); }
};
/// Where a record has the mass in the second layer: normalisation "signed" or "absolute"; answer and noise of the mean
/// of heads, then of the best head.
std::string mass_path(const std::string& normalisation, size_t index);

/// STUDY-curves.svg: how each arm learned. STUDY-arms.svg: when each seed came there, and what it does in longer contexts.
/// STUDY-attention.svg: where the models look.
void draw_pictures(const Study& study, const std::vector<ArmRecords>& arms, const std::string& folder);

}  // namespace needle
