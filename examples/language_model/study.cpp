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
  EqualTime cost;
  std::map<uint64_t, double> least;  // of each seed
  for (const ArmRecords& a : arms)
    for (const nlohmann::json& record : a.records) {
      const nlohmann::json& seconds = record.at("cpu_seconds_per_update");
      if (seconds.is_null()) continue;
      const uint64_t seed = record.at("seed");
      cost[{a.arm, seed}] = seconds;
      least[seed] = least.contains(seed) ? std::min<double>(least[seed], seconds) : seconds.get<double>();
    }
  EqualTime made;
  for (const auto& [training, seconds] : cost)
    made[training] = least[training.second] / seconds * static_cast<double>(updates);
  return made;
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
