#include "examples/language_model/study_pictures.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "examples/training/charts.h"
#include "examples/training/dot_chart.h"

namespace language_model {

double final_loss(const nlohmann::json& record) { return record.at("loss"); }

std::optional<Difference> Told::difference(const Comparison& c, const Value& value) const {
  const ArmRecords *a = training::find_arm(arms, c.arm), *control = training::find_arm(arms, c.control);
  if (!a || !control) return {};
  std::vector<double> seeds = paired_differences(*a, *control, value);
  std::erase_if(seeds, [](double x) { return std::isnan(x); });
  return seeds.empty() ? std::nullopt : std::optional(difference_of(seeds));
}

double Told::equal_updates(const nlohmann::json& record) const {
  const auto updates = equal.find({record.at("arm"), record.at("seed")});
  return updates == equal.end() ? NAN : updates->second;
}

Value Told::loss_at_equal_time() const {
  return [this](const nlohmann::json& record) {
    const double updates = equal_updates(record);
    return std::isnan(updates) ? NAN : loss_after(updates, record);
  };
}

std::vector<Part> parts_of(const Told& told) {
  std::vector<Part> parts;
  for (const nlohmann::json& part : told.arms[0].records[0].at("positions")) parts.emplace_back(part.at(0), part.at(1));
  return parts;
}

Value loss_in(const Part& wanted) {
  return [wanted](const nlohmann::json& record) {
    double sum = 0, count = 0;
    for (const nlohmann::json& part : record.at("positions")) {
      const int64_t begin = part.at(0), end = part.at(1);
      if (begin < wanted.first || end > wanted.second) continue;
      const auto positions = static_cast<double>(end - begin + 1);
      sum += positions * part.at(2).get<double>(), count += positions;
    }
    return sum / count;
  };
}

double mean_loss(const ArmRecords& arm, const Part& part) {
  std::vector<double> seeds;
  for (const nlohmann::json& record : arm.records) seeds.push_back(loss_in(part)(record));
  return student_interval(seeds).mean;
}

namespace {

// What looking back is worth: the loss of each arm by position, and the differences.
void draw_positions(const Told& told, const std::string& folder) {
  const auto curve = [&](const std::string& label, const auto& mean) {
    Series series{label, {}};
    for (const Part& part : parts_of(told))
      series.points.push_back({static_cast<double>(part.first + part.second) / 2, mean(part)});
    return series;
  };
  std::vector<Series> losses, differences;
  for (const ArmRecords& a : told.arms)
    losses.push_back(curve(a.arm, [&](const Part& part) { return mean_loss(a, part); }));
  for (const Comparison& c : comparisons())
    if (told.difference(c, final_loss))
      differences.push_back(curve(c.name(), [&](const Part& part) { return told.difference(c, loss_in(part))->mean; }));
  write_file(folder + "/" + told.study.task + "-positions.svg", position_chart(losses));
  write_file(folder + "/" + told.study.task + "-position-differences.svg",
             position_chart(differences, "differences of loss by position", "%+.3f"));
}

// Every comparison of every text, with each seed's difference a dot and its interval a bar.
void draw_differences(const std::vector<Told>& all, const std::string& path) {
  std::vector<std::string> rows;
  std::vector<DotPanel> panels;
  for (const Comparison& c : comparisons()) rows.push_back(c.name());
  for (const Told& told : all)
    for (const bool equal_time : {false, true}) {
      DotPanel panel{told.study.task + (equal_time ? ", equal time" : ", equal updates"), 0, 0, {}, {}};
      double widest = 1e-4;
      for (const Comparison& c : comparisons()) {
        const auto d = told.difference(c, equal_time ? told.loss_at_equal_time() : final_loss);
        panel.values.push_back(d ? d->seeds : std::vector<double>{});
        panel.intervals.push_back(d ? d->student : Interval{});
        for (const double x : panel.values.back()) widest = std::max(widest, std::abs(x));
        for (const double x : {panel.intervals.back().low, panel.intervals.back().high})
          if (std::isfinite(x)) widest = std::max(widest, std::abs(x));
      }
      const double step = std::pow(10, std::floor(std::log10(widest)));
      panel.high = step * std::ceil(widest / step), panel.low = -panel.high;
      panels.push_back(std::move(panel));
    }
  write_file(path,
             dot_chart("Differences of loss, nats a token: each dot is a seed, the bar a 95% interval", rows, panels));
}

}  // namespace

void draw_pictures(const std::vector<Told>& all, const std::string& folder) {
  for (const Told& told : all)
    if (!told.arms.empty()) draw_positions(told, folder);
  draw_differences(all, folder + "/differences.svg");
}

}  // namespace language_model
