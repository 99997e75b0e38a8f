#include "examples/needle/pictures.h"

#include "examples/needle/dot_chart.h"
#include "examples/text/files.h"
#include "examples/training/charts.h"
#include "examples/training/statistics.h"

namespace needle {

namespace {

// The median curve of an arm's seeds; one that ended early stays where it was.
training::Series median_curve(const ArmRecords& a) {
  training::Series series{a.arm, {}};
  size_t longest = 0;
  for (const nlohmann::json& record : a.records) longest = std::max(longest, record.at("curve").size());
  for (size_t i = 0; i < longest; ++i) {
    double update = 0;
    const std::vector<double> values = a.each([&](auto& r) {
      const auto& curve = r.at("curve");
      if (i < curve.size()) update = curve[i].at(0).template get<double>();
      return 100 * curve[std::min(i, curve.size() - 1)].at(1).template get<double>();
    });
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
    DotPanel p{head, low, high, {}};
    for (const ArmRecords& a : arms) p.values.push_back(value(a));
    return p;
  };
  const auto all = static_cast<double>(study.updates);
  const auto to = [&](double accuracy) { return [=](const ArmRecords& a) { return a.updates(accuracy); }; };
  const auto test = [&](const char* name) {
    return [=](const ArmRecords& a) {
      return a.each([&](auto& r) { return r.at("tests").at(name).at("accuracy").template get<double>(); });
    };
  };
  text::write_file(folder + "/" + study.name + "-arms.svg",
                   dot_chart("Each dot is a seed; the bar is their median; hollow: never", names,
                             {panel("updates to 50%", 0, all, to(0.5)), panel("updates to 99%", 0, all, to(0.99)),
                              panel("accuracy, context x2", 0, 1, test("context x2")),
                              panel("accuracy, context x4", 0, 1, test("context x4"))}));
  const auto mass = [&](const char* normalisation, size_t index) {
    return [=](const ArmRecords& a) {
      return a.each([&](auto& r) { return r.at("mass").back().at(normalisation).at(index).template get<double>(); });
    };
  };
  const auto lambda = [](const ArmRecords& a) {
    return a.records[0].at("lambda").empty()
               ? std::vector<double>{}
               : a.each([](auto& r) { return r.at("lambda").back().template get<double>(); });
  };
  text::write_file(folder + "/" + study.name + "-attention.svg",
                   dot_chart("Second layer, mean of heads: where the rows that must answer look", names,
                             {panel("answer, signed", -0.5, 1.5, mass("signed", 0)),
                              panel("noise, signed", -0.5, 1.5, mass("signed", 1)),
                              panel("answer, absolute", 0, 1, mass("absolute", 0)),
                              panel("noise, absolute", 0, 1, mass("absolute", 1)), panel("λ", -1, 1, lambda)}));
}

}  // namespace needle
