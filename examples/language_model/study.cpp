#include "examples/language_model/study.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "examples/training/svg.h"

namespace language_model {

Study study_of(const std::string& text, int64_t updates, int seeds) {
  Study study{"loss",
              "six arms at their own learning rates, paired by seed",
              text,
              {"softmax", "softmax-wide", "softmax-wide-norm", "diff", "diff-nonorm", "diff-v2"},
              {0.003, 0.006, 0.012},
              {101, 102},
              std::vector<uint64_t>(seeds ? static_cast<size_t>(seeds) : 10),
              updates ? updates : 400,
              [](const nlohmann::json& record) { return std::vector{record.at("loss").get<double>()}; }};
  std::iota(study.seeds.begin(), study.seeds.end(), uint64_t{1});
  return study;
}

nlohmann::json study_settings() {
  return {{"context", 128}, {"schedule", "inverse-sqrt"}, {"warmup", 100}, {"check_every", 50}};
}

const std::vector<Comparison>& comparisons() {
  static const std::vector<Comparison> all{
      {"diff", "softmax-wide-norm", "the second map"},
      {"diff-nonorm", "softmax-wide", "the second map, where heads are not normalised"},
      {"diff-v2", "softmax", "the second map, in diff-v2"},
      {"diff", "softmax", "second map, wide heads and head norm: what papers compare"},
      {"softmax-wide-norm", "softmax-wide", "the head norm alone"},
      {"softmax-wide", "softmax", "wide heads alone"},
  };
  return all;
}

nlohmann::json shared_settings(const Settings& settings) {
  nlohmann::json shared = settings.json();
  for (const char* name : {"arm", "attention", "head_norm", "heads", "lr", "seed", "max_updates", "train", "valid"})
    shared.erase(name);
  return shared;
}

void require_comparable(const Records& records, const std::string& path) {
  for (size_t i = 1; i < records.size(); ++i)
    for (const char* what : {"data", "settings"})
      if (records[i].at(what) != records[i - 1].at(what))
        throw InputError(path + ": the " + (what == std::string("data") ? "text" : what) + " of " +
                         trial_of(records[i]).name() + " is not that of " + trial_of(records[i - 1]).name() +
                         ": they cannot be compared");
}

// --- Equal time ---------------------------------------------------------------------------------------------------

EqualTime equal_time(const std::vector<ArmRecords>& arms, int64_t updates) {
  std::map<std::string, double> costs;
  for (const ArmRecords& a : arms) {
    const std::vector<double> seconds = a.values("/cpu_seconds_per_update");
    if (!seconds.empty()) costs[a.arm] = training::median(seconds);
  }
  EqualTime equal;
  if (costs.empty()) return equal;
  const double least =
      std::min_element(costs.begin(), costs.end(), [](auto& a, auto& b) { return a.second < b.second; })->second;
  equal.seconds = least * static_cast<double>(updates);
  for (const auto& [arm, cost] : costs) equal.updates[arm] = equal.seconds / cost;
  return equal;
}

double loss_after(double updates, const nlohmann::json& record) {
  const nlohmann::json& curve = record.at("curve");
  const auto at = [&](size_t i) { return Point{curve.at(i).at(0), curve.at(i).at(1)}; };
  size_t next = 0;
  while (next + 1 < curve.size() && at(next).x < updates) ++next;
  const Point before = at(next == 0 ? 0 : next - 1), after = at(next);
  if (after.x <= before.x) return after.y;
  const double share = std::clamp((updates - before.x) / (after.x - before.x), 0.0, 1.0);
  return before.y + share * (after.y - before.y);
}

Difference difference_of(const std::vector<double>& seeds) {
  const MeanInterval t = student_interval(seeds);
  const double infinity = std::numeric_limits<double>::infinity();
  return {seeds,
          t.mean,
          {t.mean - t.half_width, t.mean + t.half_width},
          seeds.size() > 1 ? bootstrap_interval(seeds) : Interval{-infinity, infinity}};
}

}  // namespace language_model
