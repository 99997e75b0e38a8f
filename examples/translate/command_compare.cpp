// translate compare: runs side by side, in a table and a picture.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "core/safetensors.h"
#include "examples/translate/commands.h"
#include "examples/translate/corpus.h"
#include "examples/translate/history.h"

namespace translate {
namespace {

struct Arguments {
  std::vector<std::string> runs;
  std::string svg = "compare.svg";
};

int64_t parameters_of(const std::string& run) {
  int64_t count = 0;
  for (const auto& [name, tensor] : difftensor::load_safetensors(run + "/model.safetensors").tensors)
    count += tensor.numel();
  return count;
}

double median(const std::vector<Point>& points) {
  std::vector<double> values;
  for (const Point& p : points) values.push_back(p.y);
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

// A row of the table. A run that has not come to its first report or validation has dashes there.
std::vector<std::string> describe(const std::string& run, const TrainingHistory& h) {
  const auto text = [](const char* pattern, double value) {
    char buffer[32];
    std::snprintf(buffer, sizeof buffer, pattern, value);
    return std::string(buffer);
  };
  std::vector<std::string> row{run, load_run_settings(run).attention, "-", "-", "-", "-", "-"};
  if (std::filesystem::exists(run + "/model.safetensors")) row[2] = std::to_string(parameters_of(run));
  double updates = 0;  // a training that ended by --patience has validated after its last report
  for (const auto* points : {&h.train_loss, &h.valid_loss})
    if (!points->empty()) updates = std::max(updates, points->back().x);
  if (updates > 0) row[3] = text("%.0f", updates);
  if (!h.valid_loss.empty()) {
    const Point best = *std::min_element(h.valid_loss.begin(), h.valid_loss.end(),
                                         [](const Point& a, const Point& b) { return a.y < b.y; });
    row[4] = text("%.3f", std::exp(best.y));
    for (const Point& bleu : h.bleu)
      if (bleu.x == best.x) row[5] = text("%.2f", bleu.y);
  }
  if (!h.tokens_per_second.empty()) row[6] = text("%.0f", median(h.tokens_per_second));
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
  std::vector<std::vector<std::string>> rows{
      {"run", "attention", "parameters", "updates", "best perplexity", "BLEU", "tokens/s"}};
  std::vector<Series> curves;
  for (const std::string& run : a.runs) {
    if (!std::filesystem::is_directory(run)) throw InputError(run + ": no such run folder");
    const TrainingHistory history = read_history(run);
    rows.push_back(describe(run, history));
    curves.push_back({run, history.valid_loss});
  }
  write_file(a.svg, comparison_chart(curves));
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
      "BLEU is that of the validation with the best perplexity; tokens/s is the median of the reports. Example:\n"
      "  translate compare runs/softmax runs/diff --svg compare.svg");
}

}  // namespace translate
