#pragma once
// A study: many trainings that are to be compared, each arm at a learning rate of its own, and what is kept of each.
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace training {

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

/// What trained models told, in the order in which they came. Whatever else it tells, a record says which trial it is
/// of.
using Records = std::vector<nlohmann::json>;
/// Did the training go astray (loop.h)? Its record tells no results.
bool is_astray(const nlohmann::json& record);
/// Which trial it is of.
Trial trial_of(const nlohmann::json& record);
/// What trial_of() reads.
nlohmann::json to_json(const Trial& trial);
/// The line of a file of records: the record with its checksum.
std::string to_line(nlohmann::json record);
/// A file of one record a line, or an empty one; none if there is no such file. Throws text::InputError naming the line
/// that is none, is not what its checksum was made of, or tells something else of a trial than an earlier one. (A record
/// without a checksum is believed.)
Records read_records(const std::string& path);
/// Calls f, which reads a record or many. What one lacks, or has of another kind, is a text::InputError that begins with
/// `where`.
void reading_records(const std::string& where, const std::function<void()>& f);

struct Study {
  std::string name, purpose;
  std::string task;
  std::vector<std::string> arms;
  std::vector<double> lrs;             ///< the learning rates to choose from, on
  std::vector<uint64_t> tuning_seeds;  ///< these seeds, which are not reported; with one rate, there are none
  std::vector<uint64_t> seeds;         ///< what is reported: each arm at its rate
  int64_t updates;
  /// By what a learning rate is chosen: numbers of a record, the first of which matter most; the less, the better. A
  /// training that went astray is worse than any other.
  std::function<std::vector<double>(const nlohmann::json& record)> badness;

  /// The learning rate of an arm: the one with the least badness, on average over the tuning seeds. 0 if it is not yet
  /// known.
  double best_lr(const std::string& arm, const Records& records) const;
  /// The trials of all stages that can be known from these records, in the order in which to run them.
  std::vector<Trial> trials(const Records& records) const;
  /// How many there will be in all.
  size_t size() const { return arms.size() * (lrs.size() * tuning_seeds.size() + seeds.size()); }
  /// The records of the reported seeds of an arm, at its learning rate.
  Records reported(const std::string& arm, const Records& records) const;
};

/// An arm, and what its reported seeds told.
struct ArmRecords {
  std::string arm;
  double lr;
  Records records;
  int64_t astray = 0;  ///< seeds that went astray, and so have no record here

  /// All seeds that are done.
  int64_t seeds() const;

  /// The number at this place of every record, such as "/tests/context x2/accuracy"; none of one that has null there, as
  /// the cost of a training has that was stopped after its last update.
  std::vector<double> values(const std::string& path) const;
};
/// Those of all arms with a training that did not go astray.
std::vector<ArmRecords> reported_arms(const Study& study, const Records& records);
/// The one of this name, null if it is not among them.
const ArmRecords* find_arm(const std::vector<ArmRecords>& arms, const std::string& arm);

/// "3 of 4 reported trainings are done; 3 on one core of AMD EPYC; 0.6 CPU hours of updates; of 2 seeds there are only:
/// diff 1", how many went astray, and how many records are of none of its trials.
std::string progress_of(const Study& study, const std::vector<ArmRecords>& arms, const Records& records);

/// The value of a's record less that of b's, for each seed that both have. Paired trainings share much of their luck
/// (the order of the data, and most initial weights), which goes from the difference.
std::vector<double> paired_differences(const ArmRecords& a, const ArmRecords& b,
                                       const std::function<double(const nlohmann::json& record)>& value);

}  // namespace training
