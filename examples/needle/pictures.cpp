#include "examples/needle/pictures.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "examples/text/files.h"
#include "examples/training/charts.h"
#include "examples/training/dot_chart.h"
#include "examples/training/statistics.h"

namespace needle {

std::vector<double> updates(const ArmRecords& arm, double accuracy) {
  std::vector<double> all;
  for (const nlohmann::json& record : arm.records) {
    const int64_t needed = updates_to(accuracy, record);
    all.push_back(needed ? static_cast<double>(needed) : std::numeric_limits<double>::infinity());
  }
  return all;
}

int64_t solved(const ArmRecords& arm) { return std::count_if(arm.records.begin(), arm.records.end(), is_solved); }

std::string mass_path(const std::string& normalisation, size_t index) {
  return "/mass/1/" + normalisation + "/" + std::to_string(index);
}

namespace {

// The median curve of an arm's seeds; one that ended early stays where it was.
training::Series median_curve(const ArmRecords& a) {
  training::Series series{a.arm, {}};
  size_t longest = 0;
  for (const nlohmann::json& record : a.records) longest = std::max(longest, record.at("curve").size());
  for (size_t i = 0; i < longest; ++i) {
    double update = 0;
    std::vector<double> values;
    for (const nlohmann::json& record : a.records) {
      const nlohmann::json& curve = record.at("curve");
      if (i < curve.size()) update = curve[i].at(0);
      values.push_back(100 * curve[std::min(i, curve.size() - 1)].at(1).get<double>());
    }
    series.points.push_back({update, training::median(values)});
  }
  return series;
}

}  // namespace

void draw_pictures(const Study& study, const std::vector<ArmRecords>& arms, const std::string& folder) {
  std::vector<training::Series> curves;
  std::vector<std::string> names;
  for (const ArmRecords& a : arms) curves.push_back(median_curve(a)), names.push_back(a.arm);
  const std::string title =
      study.task + ": questions answered rightly, %" + (study.seeds.size() > 1 ? ", median of the seeds" : "");
  text::write_file(folder + "/" + study.name + "-curves.svg",
                   training::comparison_chart(curves, title, training::Ordinate::from_zero, "%.0f%%"));
  const auto panel = [&](const std::string& head, double low, double high, auto value) {
    training::DotPanel p{head, low, high, {}};
    for (const ArmRecords& a : arms) p.values.push_back(value(a));
    return p;
  };
  const auto all = static_cast<double>(study.updates);
  const auto to = [&](double accuracy) { return [=](const ArmRecords& a) { return updates(a, accuracy); }; };
  const auto at = [](const std::string& path) { return [=](const ArmRecords& a) { return a.values(path); }; };
  text::write_file(
      folder + "/" + study.name + "-arms.svg",
      training::dot_chart("Each dot is a seed; the bar is their median; hollow: never", names,
                          {panel("updates to 50%", 0, all, to(0.5)), panel("updates to 99%", 0, all, to(0.99)),
                           panel("accuracy, context x2", 0, 1, at("/tests/context x2/accuracy")),
                           panel("accuracy, context x4", 0, 1, at("/tests/context x4/accuracy"))}));
  const auto lambda = [](const ArmRecords& a) {
    return a.records[0].at("lambda").empty() ? std::vector<double>{} : a.values("/lambda/1");
  };
  text::write_file(
      folder + "/" + study.name + "-attention.svg",
      training::dot_chart("Second layer, mean of heads: where the rows that must answer look", names,
                          {panel("answer, signed", -1, 2, at(mass_path("signed", 0))),
                           panel("noise, signed", -1, 2, at(mass_path("signed", 1))),
                           panel("answer, absolute", 0, 1, at(mass_path("absolute", 0))),
                           panel("noise, absolute", 0, 1, at(mass_path("absolute", 1))), panel("λ", -1, 1, lambda)}));
}

}  // namespace needle
