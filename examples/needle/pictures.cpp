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

ArmRecords solved(const ArmRecords& arm) {
  ArmRecords some = arm;
  std::erase_if(some.records, [](const nlohmann::json& record) { return !is_solved(record); });
  return some;
}

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
  const auto draw = [&](const char* picture, const std::string& heading,
                        const std::vector<training::DotPanel>& panels) {
    text::write_file(folder + "/" + study.name + "-" + picture + ".svg", training::dot_chart(heading, names, panels));
  };
  const auto panel = [&](const std::string& head, double low, double high, auto value) {
    training::DotPanel p{head, low, high, {}};
    for (const ArmRecords& a : arms) p.values.push_back(value(a));
    return p;
  };
  const auto all = static_cast<double>(study.updates);
  const auto to = [&](double accuracy) { return [=](const ArmRecords& a) { return updates(a, accuracy); }; };
  const auto cost = [](const ArmRecords& a) {
    std::vector<double> milliseconds = a.values("/cpu_seconds_per_update");
    for (double& x : milliseconds) x *= 1000;
    return milliseconds;
  };
  draw("arms", "Each dot is a seed; the bar is their median; hollow: never",
       {panel("updates to 50%", 0, all, to(0.5)), panel("updates to 90%", 0, all, to(0.9)),
        panel("updates to 99%", 0, all, to(0.99)), panel("CPU ms an update", 0, 200, cost)});

  // A number of the seeds that solved the task.
  const auto at = [](const std::string& path) { return [=](const ArmRecords& a) { return solved(a).values(path); }; };
  const auto accuracy = [&](const std::string& head, const std::string& test, const std::string& of = "/accuracy") {
    return panel(head, 0, 1, at("/tests/" + test + of));
  };
  // The test with the most of these.
  const nlohmann::json& tests = arms[0].records[0].at("tests");
  const auto most = [&](const std::string& of) {
    long number = 0;
    for (const auto& [name, score] : tests.items())
      if (name.starts_with(of + " ")) number = std::max(number, std::stol(name.substr(of.size() + 1)));
    const std::string name = of + " " + std::to_string(number);
    return accuracy(std::to_string(number) + " " + of, name);
  };
  draw("tests", "Accuracy of the seeds that solved the task",
       {most("needles"), most("queries"), accuracy("context x2", "context x2"), accuracy("context x4", "context x4"),
        accuracy("x4, oldest quarter", "context x4", "/depth/0"), accuracy("x4, newest", "context x4", "/depth/3")});
  const auto lambda = [&](size_t layer) {
    return panel("λ, layer " + std::to_string(layer + 1), -1, 1, [=](const ArmRecords& a) {
      return a.records[0].at("lambda").empty() ? std::vector<double>{}
                                               : solved(a).values("/lambda/" + std::to_string(layer));
    });
  };
  draw("attention", "Second layer, mean of heads: where the rows that must answer look; seeds that solved the task",
       {panel("answer, signed", -1, 2, at(mass_path("signed", 0))),
        panel("noise, signed", -1, 2, at(mass_path("signed", 1))),
        panel("answer, absolute", 0, 1, at(mass_path("absolute", 0))),
        panel("noise, absolute", 0, 1, at(mass_path("absolute", 1))), lambda(0), lambda(1)});
  draw("magnitudes", "Second layer, largest magnitudes; seeds that solved the task",
       {panel("logit", 0, 40, at("/logits/1/0")), panel("logit, median", 0, 4, at("/logits/1/5")),
        panel("hidden state", 0, 20, at("/hidden/1/0")), panel("hidden state, median", 0, 4, at("/hidden/1/5"))});
}

}  // namespace needle
