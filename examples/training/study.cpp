#include "examples/training/study.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <sstream>

#include "core/crc32.h"
#include "core/json.h"
#include "examples/text/files.h"

namespace training {

std::string Trial::name() const {
  return text::format("%s-%s-%g-%lu-%ld", task.c_str(), arm.c_str(), lr, seed, updates);
}

bool is_astray(const nlohmann::json& record) { return record.value("astray", false); }

Trial trial_of(const nlohmann::json& record) {
  return {record.at("task"), record.at("arm"), record.at("lr"), record.at("seed"), record.at("max_updates")};
}

nlohmann::json to_json(const Trial& t) {
  return {{"task", t.task}, {"arm", t.arm}, {"lr", t.lr}, {"seed", t.seed}, {"max_updates", t.updates}};
}

namespace {
std::string checksum(const nlohmann::json& record) { return text::format("%08x", difftensor::crc32(record.dump())); }

const nlohmann::json* find(const Trial& trial, const Records& records) {
  const auto found = std::find_if(records.begin(), records.end(), [&](auto& r) { return trial_of(r) == trial; });
  return found == records.end() ? nullptr : &*found;
}
}  // namespace

std::string to_line(nlohmann::json record) {
  record["crc32"] = checksum(record);
  return record.dump() + "\n";
}

Records read_records(const std::string& path) {
  Records records;
  if (!std::filesystem::exists(path)) return records;
  std::istringstream lines(text::read_file(path));
  size_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    const std::string where = path + ":" + std::to_string(++number);
    if (line.empty()) continue;
    nlohmann::json record = text::parse_json(line, where);
    reading_records(where, [&] {
      const Trial trial = trial_of(record);
      const nlohmann::json sum = record.value("crc32", nlohmann::json());
      record.erase("crc32");
      if (!sum.is_null() && sum != checksum(record))
        throw text::InputError(where + ": is damaged: its checksum was made of something else");
      if (const nlohmann::json* other = find(trial, records); !other)
        records.push_back(std::move(record));
      else if (*other != record)
        throw text::InputError(where + ": tells something else of " + trial.name() + " than an earlier line");
    });
  }
  return records;
}

void reading_records(const std::string& where, const std::function<void()>& f) {
  try {
    f();
  } catch (const nlohmann::json::exception& error) {
    throw text::InputError(where + ": is no record of such a training: " + difftensor::json_reason(error));
  }
}

double Study::best_lr(const std::string& arm, const Records& records) const {
  if (lrs.size() == 1) return lrs[0];
  double best = 0;
  std::vector<double> least;
  for (const double lr : lrs) {
    std::vector<double> sum(1);  // how many went astray; then the badness of the others
    for (const uint64_t seed : tuning_seeds) {
      const nlohmann::json* record = find({task, arm, lr, seed, updates}, records);
      if (!record) return 0;
      if (is_astray(*record)) {
        ++sum[0];
        continue;
      }
      const std::vector<double> bad = badness(*record);
      sum.resize(bad.size() + 1);
      for (size_t i = 0; i < bad.size(); ++i) sum[i + 1] += bad[i];
    }
    if (best == 0 || sum < least) least = sum, best = lr;
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

int64_t ArmRecords::seeds() const { return static_cast<int64_t>(records.size()) + astray; }

std::vector<double> ArmRecords::values(const std::string& path) const {
  const nlohmann::json::json_pointer place(path);
  std::vector<double> all;
  for (const nlohmann::json& record : records)
    if (const nlohmann::json& value = record.at(place); !value.is_null()) all.push_back(value);
  return all;
}

std::vector<ArmRecords> reported_arms(const Study& study, const Records& records) {
  std::vector<ArmRecords> arms;
  for (const std::string& arm : study.arms) {
    ArmRecords a{arm, study.best_lr(arm, records), study.reported(arm, records)};
    a.astray = static_cast<int64_t>(std::erase_if(a.records, is_astray));
    if (!a.records.empty()) arms.push_back(std::move(a));
  }
  return arms;
}

const ArmRecords* find_arm(const std::vector<ArmRecords>& arms, const std::string& arm) {
  const auto found = std::find_if(arms.begin(), arms.end(), [&](const ArmRecords& a) { return a.arm == arm; });
  return found == arms.end() ? nullptr : &*found;
}

std::string progress_of(const Study& study, const std::vector<ArmRecords>& arms, const Records& records) {
  double seconds = 0;  // of updates
  std::map<std::string, size_t> cpus;
  for (const ArmRecords& a : arms)
    for (const nlohmann::json& record : a.records) {
      ++cpus[record.at("cpu")];
      if (const auto& cost = record.at("cpu_seconds_per_update"); !cost.is_null())
        seconds += cost.get<double>() * static_cast<double>(record.value("updates", study.updates));
    }
  size_t reported = 0;
  std::string few, astray;  // few seeds say little beside an arm that has all
  for (const std::string& arm : study.arms) {
    const Records found = study.reported(arm, records);
    reported += found.size();
    if (found.size() < study.seeds.size())
      few += (few.empty() ? "" : ", ") + text::format("%s %zu", arm.c_str(), found.size());
    if (const auto count = std::count_if(found.begin(), found.end(), is_astray); count > 0)
      astray += (astray.empty() ? "" : ", ") + text::format("%s %ld", arm.c_str(), count);
  }
  std::string words =
      text::format("%zu of %zu reported trainings are done", reported, study.arms.size() * study.seeds.size());
  for (const auto& [cpu, count] : cpus) words += text::format("; %zu on one core of %s", count, cpu.c_str());
  if (reported > 0) words += text::format("; %.1f CPU hours of updates", seconds / 3600);
  if (reported > 0 && !few.empty())
    words += text::format("; of %zu seeds there are only: %s", study.seeds.size(), few.c_str());
  if (!astray.empty()) words += "; seeds that went astray: " + astray;
  const std::vector<Trial> trials = study.trials(records);
  const auto strange = std::count_if(records.begin(), records.end(), [&](const nlohmann::json& r) {
    return std::find(trials.begin(), trials.end(), trial_of(r)) == trials.end();
  });
  if (strange > 0)
    words += text::format("; %ld records are of other trainings (other updates, seeds or rates)", strange);
  return words;
}

std::vector<double> paired_differences(const ArmRecords& a, const ArmRecords& b,
                                       const std::function<double(const nlohmann::json&)>& value) {
  std::vector<double> differences;
  for (const nlohmann::json& one : a.records)
    for (const nlohmann::json& other : b.records)
      if (one.at("seed") == other.at("seed")) differences.push_back(value(one) - value(other));
  return differences;
}

}  // namespace training
