#include "examples/needle/study.h"

#include <nlohmann/json.hpp>

#include "examples/needle/arms.h"
#include "examples/needle/retrieval.h"
#include "examples/text/files.h"

namespace needle {

bool is_solved(const nlohmann::json& record) {
  return !training::is_astray(record) && record.at("tests").at("as trained").at("accuracy") >= solved_accuracy;
}

void require_comparable(const Records& records, const std::string& path) {
  const nlohmann::json* first = nullptr;  // that tells
  for (const nlohmann::json& record : records) {
    if (!record.contains("check_sequences")) continue;
    if (!first) first = &record;
    if (record.at("check_sequences") != first->at("check_sequences"))
      throw text::InputError(path + ": " + training::trial_of(record).name() + " has other --check-sequences than " +
                             training::trial_of(*first).name() + ": they cannot be compared");
  }
}

int64_t updates_to(double accuracy, const nlohmann::json& record) {
  for (const auto& point : record.at("curve"))
    if (point.at(1) >= accuracy) return point.at(0);
  return 0;
}

namespace {
std::vector<double> badness(const nlohmann::json& record) {
  const int64_t needed = updates_to(0.99, record);
  return {static_cast<double>(needed ? needed : record.at("max_updates").get<int64_t>()),
          record.at("curve").back().at(2).get<double>()};
}
}  // namespace

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
                               1000,
                               badness},
                              {"first",
                               "every arm at its own learning rate",
                               "needle1",
                               arm_names(),
                               {0.0005, 0.001, 0.002, 0.004},
                               {101, 102},
                               {1, 2, 3, 4, 5},
                               updates1,
                               badness},
                              {"confirmatory",
                               "does diff tell needles from near keys where its control does not?",
                               "needle2",
                               {"diff", "softmax-wide-norm", "softmax-wide", "diff-nonorm", "diff-v2"},
                               {0.001},
                               {},
                               {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12},
                               updates2,
                               badness}};
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
  throw text::InputError("--study " + name + ": is none of " + known);
}

}  // namespace needle
