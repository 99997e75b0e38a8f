#include "examples/needle/pictures.h"

#include <algorithm>
#include <cmath>
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
  all.insert(all.end(), arm.astray, std::numeric_limits<double>::infinity());
  return all;
}

ArmRecords solved(const ArmRecords& arm) {
  ArmRecords some{arm.arm, arm.lr, arm.records};
  std::erase_if(some.records, [](const nlohmann::json& record) { return !is_solved(record); });
  return some;
}

std::string mass_path(const std::string& normalisation, size_t index) {
  return "/mass/1/" + normalisation + "/" + std::to_string(index);
}

namespace {

// The median curve of an arm's seeds; one that ended early stays where it was, one that went astray at 0.
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
    values.insert(values.end(), a.astray, 0.0);
    series.points.push_back({update, training::median(values)});
  }
  return series;
}

}  // namespace

void draw_pictures(const Study& study, const std::vector<ArmRecords>& arms, const std::string& folder) {
  std::vector<training::Series> curves;
  std::vector<std::string> names;
  for (const ArmRecords& a : arms) {
    const auto all = static_cast<int64_t>(study.seeds.size());
    names.push_back(a.seeds() == all ? a.arm : text::format("%s (%ld of %ld)", a.arm.c_str(), a.seeds(), all));
    curves.push_back(median_curve(a));
    curves.back().label = names.back();
  }
  const std::string title =
      study.task + ": questions answered rightly, %" + (study.seeds.size() > 1 ? ", median of the seeds" : "");
  text::write_file(folder + "/" + study.name + "-curves.svg",
                   training::comparison_chart(curves, title, training::Ordinate::from_zero, "%.0f%%"));
  const auto draw = [&](const char* picture, const std::string& heading,
                        const std::vector<training::DotPanel>& panels) {
    text::write_file(folder + "/" + study.name + "-" + picture + ".svg", training::dot_chart(heading, names, panels));
  };
  const auto panel = [](const std::string& head, double low, double high, const std::vector<ArmRecords>& of,
                        auto value) {
    training::DotPanel p{head, low, high, {}};
    for (const ArmRecords& a : of) p.values.push_back(value(a));
    return p;
  };
  const auto all = static_cast<double>(study.updates);
  const auto to = [&](double accuracy) {
    const std::string head = "updates to " + std::to_string(std::lround(100 * accuracy)) + "%";
    return panel(head, 0, all, arms, [=](const ArmRecords& a) { return updates(a, accuracy); });
  };
  const auto cost = [](const ArmRecords& a) {
    std::vector<double> milliseconds = a.values("/cpu_seconds_per_update");
    for (double& x : milliseconds) x *= 1000;
    return milliseconds;
  };
  draw("arms", "Each dot is a seed; the bar is their median; hollow: never",
       {to(0.5), to(0.9), to(0.99), panel("CPU ms an update", 0, 200, arms, cost)});

  // A number of the seeds that solved the task; none of an arm whose models do not have it, as softmax has no lambda.
  std::vector<ArmRecords> good;
  for (const ArmRecords& a : arms) good.push_back(solved(a));
  const auto at = [&](const std::string& head, double low, double high, const std::string& path) {
    return panel(head, low, high, good, [=, place = nlohmann::json::json_pointer(path)](const ArmRecords& a) {
      return !a.records.empty() && a.records[0].contains(place) ? a.values(path) : std::vector<double>{};
    });
  };
  const auto accuracy = [&](const std::string& head, const std::string& test, const std::string& of = "/accuracy") {
    return at(head, 0, 1, "/tests/" + test + of);
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
  draw("attention", "Second layer, mean of heads: where the rows that must answer look; seeds that solved the task",
       {at("answer, signed", -1, 2, mass_path("signed", 0)), at("noise, signed", -1, 2, mass_path("signed", 1)),
        at("answer, absolute", 0, 1, mass_path("absolute", 0)), at("noise, absolute", 0, 1, mass_path("absolute", 1)),
        at("λ, layer 1", -1, 1, "/lambda/0"), at("λ, layer 2", -1, 1, "/lambda/1")});
  draw("magnitudes", "Largest magnitudes; seeds that solved the task",
       {at("logit, layer 1", 0, 40, "/logits/0/0"), at("logit, layer 2", 0, 40, "/logits/1/0"),
        at("hidden state, layer 1", 0, 20, "/hidden/0/0"), at("hidden state, layer 2", 0, 20, "/hidden/1/0")});
}

}  // namespace needle
