#pragma once
// The studies: which trainings, and what is kept of each.
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace needle {

/// One training.
struct Trial {
  std::string task, arm;
  double lr;
  uint64_t seed;
  int64_t updates;

  /// "needle1-diff-0.001-3-3000"
  std::string name() const;
  bool operator==(const Trial&) const = default;
};

/// What trained models told (NeedleTask's record.json), in the order in which they came.
using Records = std::vector<nlohmann::json>;
/// Which trial it is of.
Trial trial_of(const nlohmann::json& record);
/// A file of one record a line; none if there is no such file. Throws text::InputError naming the line that is none.
Records read_records(const std::string& path);

struct Study {
  std::string name, purpose;
  std::string task;
  std::vector<std::string> arms;
  std::vector<double> lrs;             ///< the learning rates to choose from, on
  std::vector<uint64_t> tuning_seeds;  ///< these seeds, which are not reported; with one rate, there are none
  std::vector<uint64_t> seeds;         ///< what is reported: each arm at its rate
  int64_t updates;

  /// The learning rate of an arm: the one with the fewest updates to 99%, on average over the tuning seeds, where one
  /// that never came there counts as all updates; of equals, the one with the lower loss at the end. 0 if it is not yet
  /// known.
  double best_lr(const std::string& arm, const Records& records) const;
  /// The trials of all stages that can be known from these records, in the order in which to run them.
  std::vector<Trial> trials(const Records& records) const;
  /// How many there will be in all.
  size_t size() const { return arms.size() * (lrs.size() * tuning_seeds.size() + seeds.size()); }
  /// The records of the reported seeds of an arm, at its learning rate.
  Records reported(const std::string& arm, const Records& records) const;
};

/// quick, first, confirmatory.
///
/// The confirmatory study was fixed before its first training: the claim is that differential attention learns to tell
/// needles from near keys where its control does not. Tested is the share of seeds whose accuracy on the task as trained
/// is 98% or more at the end, by Fisher's exact test, one-sided at 0.05, of `diff` against `softmax-wide-norm`; all
/// other comparisons of it are told, but not tested. It stands or falls with that one number, which is published either
/// way.
const std::vector<Study>& studies();
/// One of them, with so many updates instead of its own if not 0. Throws text::InputError naming those that there are.
Study study_named(const std::string& name, int64_t updates);
constexpr double solved_accuracy = 0.98;
bool is_solved(const nlohmann::json& record);

/// The first update at which a curve is at this accuracy; 0 if it never is.
int64_t updates_to(double accuracy, const nlohmann::json& record);

}  // namespace needle
