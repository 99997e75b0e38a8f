// compare: runs side by side, in a table and a picture.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/safetensors.h"
#include "examples/text/files.h"
#include "examples/training/history.h"
#include "examples/training/program.h"
#include "examples/training/statistics.h"
#include "examples/training/task.h"

namespace training {

using text::format, text::InputError;

namespace {

struct Arguments {
  std::vector<std::string> runs;
  std::string svg = "compare.svg";
};

int64_t parameters_of(const std::string& model) {
  int64_t count = 0;
  for (const auto& [name, tensor] : difftensor::load_safetensors(model).tensors) count += tensor.numel();
  return count;
}

double median_of(const std::vector<Point>& points) {
  std::vector<double> values;
  for (const Point& p : points) values.push_back(p.y);
  return median(values);
}

// A row of the table. A run that has not come to its first report or validation has dashes there.
std::vector<std::string> describe(const std::string& run, const TrainingHistory& h,
                                  const std::vector<std::string>& figures) {
  const auto config = text::read_json(run + "/config.json");
  if (!config.is_object()) throw InputError(run + "/config.json: holds no settings");
  std::string kind;  // of a study's arm, its name, which tells more
  for (const char* key : {"arm", "attention"})
    if (kind.empty() && config.contains(key) && config[key].is_string()) kind = config[key];
  const std::string model = run + "/model.safetensors";
  double updates = 0;  // a training that ended by --patience has validated after its last report
  for (const auto* points : {&h.train_loss, &h.valid_loss})
    if (!points->empty()) updates = std::max(updates, points->back().x);
  std::vector<std::string> row{run, kind.empty() ? "-" : kind,
                               std::filesystem::exists(model) ? std::to_string(parameters_of(model)) : "-",
                               updates > 0 ? format("%.0f", updates) : "-"};
  Point best{-1, 0};
  for (const Point& p : h.valid_loss)
    if (best.x < 0 || p.y < best.y) best = p;
  row.push_back(best.x < 0 ? "-" : format("%.3f", std::exp(best.y)));
  for (const std::string& figure : figures) {
    row.push_back("-");
    for (const Series& series : h.figures)
      for (const Point& p : series.points)
        if (series.label == figure && p.x == best.x) row.back() = format("%.2f", p.y);
  }
  row.push_back(h.tokens_per_second.empty() ? "-" : format("%.0f", median_of(h.tokens_per_second)));
  return row;
}

void print_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths(rows[0].size());
  for (const auto& row : rows)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  for (const auto& row : rows) {
    std::printf("%-*s  %-*s", static_cast<int>(widths[0]), row[0].c_str(), static_cast<int>(widths[1]), row[1].c_str());
    for (size_t i = 2; i < row.size(); ++i) std::printf("  %*s", static_cast<int>(widths[i]), row[i].c_str());
    std::printf("\n");
  }
}

void compare(const Arguments& a) {
  std::vector<TrainingHistory> histories;
  std::vector<std::string> figures;  // those of any of the runs
  std::vector<Series> curves;
  for (const std::string& run : a.runs) {
    if (!std::filesystem::is_directory(run)) throw InputError(run + ": no such run folder");
    histories.push_back(read_history(run));
    curves.push_back({run, histories.back().valid_loss});
    for (const Series& figure : histories.back().figures)
      if (std::find(figures.begin(), figures.end(), figure.label) == figures.end()) figures.push_back(figure.label);
  }
  std::vector<std::string> head{"run", "attention", "parameters", "updates", "best perplexity"};
  for (const std::string& figure : figures) head.push_back(figure_name(figure));
  head.push_back("tokens/s");
  std::vector<std::vector<std::string>> rows{head};
  for (size_t i = 0; i < a.runs.size(); ++i) rows.push_back(describe(a.runs[i], histories[i], figures));
  text::write_file(a.svg, comparison_chart(curves));
  print_table(rows);
  std::printf("validation losses drawn in %s\n", a.svg.c_str());
}

}  // namespace

void add_compare_command(CLI::App& app) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("compare", "compare runs: a table, and a picture of their validation losses");
  command->add_option("runs", a->runs, "run folders")->required();
  command->add_option("--svg", a->svg, "the picture to write")->capture_default_str();
  command->callback([a] { compare(*a); });
  command->footer(
      "The figures are those of the validation with the best perplexity; tokens/s is the median of the reports. "
      "Example:\n  " +
      app.get_name() + " compare runs/softmax runs/diff --svg compare.svg");
}

}  // namespace training
