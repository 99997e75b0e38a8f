#pragma once
// What the study's records tell of one text, and drawn.
#include <functional>
#include <optional>

#include "examples/language_model/study.h"

namespace language_model {

/// A number that a record tells; NaN if it is not known.
using Value = std::function<double(const nlohmann::json& record)>;

/// What is told of one text.
struct Told {
  Study study;
  Records records;
  std::vector<ArmRecords> arms;  ///< that have records
  EqualTime equal;

  /// Of the seeds that have both values; none without any.
  std::optional<Difference> difference(const Comparison& c, const Value& value) const;
  /// How many updates a training had made when the fastest of its seed was done; NaN if that is not known.
  double equal_updates(const nlohmann::json& record) const;
  /// Its loss then.
  Value loss_at_equal_time() const;
};
/// The loss at the end.
double final_loss(const nlohmann::json& record);

/// A part of the context of which a loss is told: the first position and the last.
using Part = std::pair<int64_t, int64_t>;
std::vector<Part> parts_of(const Told& told);
/// The mean loss of the positions of a part, or of several side by side, each position counted alike.
Value loss_in(const Part& part);
/// The mean of it over an arm's seeds.
double mean_loss(const ArmRecords& arm, const Part& part);

/// differences.svg: every comparison of every text, each seed a dot. TEXT-positions.svg and
/// TEXT-position-differences.svg: the loss by position of each arm, and how arms differ.
void draw_pictures(const std::vector<Told>& all, const std::string& folder);

}  // namespace language_model
