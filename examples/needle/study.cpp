#include "examples/needle/study.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <sstream>

#include "core/json.h"
#include "examples/needle/arms.h"
#include "examples/needle/retrieval.h"
#include "examples/text/files.h"

namespace needle {

using text::InputError;

std::string Trial::name() const {
  return text::format("%s-%s-%g-%lu-%ld", task.c_str(), arm.c_str(), lr, seed, updates);
}

Trial trial_of(const nlohmann::json& record) {
  return {record.at("task"), record.at("arm"), record.at("lr"), record.at("seed"), record.at("max_updates")};
}

Records read_records(const std::string& path) {
  Records records;
  if (!std::filesystem::exists(path)) return records;
  std::istringstream lines(text::read_file(path));
  for (std::string line; std::getline(lines, line);) {
    const std::string where = path + ":" + std::to_string(records.size() + 1);
    try {
      records.push_back(difftensor::parse_json(line, where));
      trial_of(records.back());
    } catch (const std::exception& error) {
      throw InputError(where + ": is no record of a training: " + error.what());
    }
  }
  return records;
}

bool is_solved(const nlohmann::json& record) {
  return record.at("tests").at("as trained").at("accuracy") >= solved_accuracy;
}

int64_t updates_to(double accuracy, const nlohmann::json& record) {
  for (const auto& point : record.at("curve"))
    if (point.at(1) >= accuracy) return point.at(0);
  return 0;
}

namespace {
const nlohmann::json* find(const Trial& trial, const Records& records) {
  const auto found = std::find_if(records.begin(), records.end(), [&](auto& r) { return trial_of(r) == trial; });
  return found == records.end() ? nullptr : &*found;
}
}  // namespace

double Study::best_lr(const std::string& arm, const Records& records) const {
  if (lrs.size() == 1) return lrs[0];
  double best = 0;
  std::pair least{std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity()};
  for (const double lr : lrs) {
    std::pair<double, double> sum{0, 0};  // of updates, and of losses
    for (const uint64_t seed : tuning_seeds) {
      const nlohmann::json* record = find({task, arm, lr, seed, updates}, records);
      if (!record) return 0;
      const int64_t needed = updates_to(0.99, *record);
      sum.first += static_cast<double>(needed ? needed : updates);
      sum.second += record->at("curve").back().at(2).get<double>();
    }
    if (sum < least) least = sum, best = lr;
  }
  return best;
}

std::vector<Trial> Study::trials(const Records& records) const {
  std::vector<Trial> all;
  for (const uint64_t seed : tuning_seeds)
    for (const double lr : lrs)
      for (const std::string& arm : arms) all.push_back({task, arm, lr, seed, updates});
  for (const uint64_t seed : seeds)
    for (const std::string& arm : arms)
      if (const double lr = best_lr(arm, records); lr > 0) all.push_back({task, arm, lr, seed, updates});
  return all;
}

Records Study::reported(const std::string& arm, const Records& records) const {
  Records found;
  for (const uint64_t seed : seeds)
    if (const nlohmann::json* record = find({task, arm, best_lr(arm, records), seed, updates}, records))
      found.push_back(*record);
  return found;
}

const std::vector<Study>& studies() {
  static const std::vector<Study> all = [] {
    const int64_t updates1 = retrieval_task("needle1").updates, updates2 = retrieval_task("needle2").updates;
    return std::vector<Study>{{"quick",
                               "diff beside its control and plain softmax, one seed",
                               "needle1",
                               {"softmax", "softmax-wide-norm", "diff"},
                               {0.001},
                               {},
                               {1},
                               1000},
                              {"first",
                               "every arm at its own learning rate",
                               "needle1",
                               arm_names(),
                               {0.0005, 0.001, 0.002, 0.004},
                               {101, 102},
                               {1, 2, 3, 4, 5},
                               updates1},
                              {"confirmatory",
                               "does diff tell needles from near keys where its control does not?",
                               "needle2",
                               {"diff", "softmax-wide-norm", "softmax-wide", "diff-nonorm", "diff-v2"},
                               {0.001},
                               {},
                               {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12},
                               updates2}};
  }();
  return all;
}

Study study_named(const std::string& name, int64_t updates) {
  std::string known;
  for (Study study : studies()) {
    if (updates) study.updates = updates;
    if (study.name == name) return study;
    known += (known.empty() ? "" : ", ") + study.name;
  }
  throw InputError("--study " + name + ": is none of " + known);
}

}  // namespace needle
