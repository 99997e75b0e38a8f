#pragma once
// A study's results by arm, and drawn.
#include <algorithm>
#include <limits>

#include "examples/needle/study.h"

namespace needle {

/// An arm, and what its reported seeds told.
struct ArmRecords {
  std::string arm;
  double lr;
  Records records;

  /// f of every record.
  template <class F>
  std::vector<double> each(F f) const {
    std::vector<double> values;
    for (const nlohmann::json& record : records) values.push_back(f(record));
    return values;
  }
  /// updates_to(accuracy) of every record; infinity for never.
  std::vector<double> updates(double accuracy) const {
    return each([&](auto& r) {
      const int64_t needed = updates_to(accuracy, r);
      return needed ? static_cast<double>(needed) : std::numeric_limits<double>::infinity();
    });
  }
  /// How many solved the task.
  int64_t solved() const {
    return std::count_if(records.begin(), records.end(),
                         [](auto& r) { return r.at("tests").at("as trained").at("accuracy") >= solved_accuracy; });
  }
};

/// STUDY-curves.svg: how each arm learned. STUDY-arms.svg: when each seed came there, and what it does in longer contexts.
/// STUDY-attention.svg: where the models look.
void draw_pictures(const Study& study, const std::vector<ArmRecords>& arms, const std::string& folder);

}  // namespace needle
