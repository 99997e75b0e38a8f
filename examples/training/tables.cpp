#include "examples/training/tables.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "examples/text/files.h"
#include "examples/training/report.h"
#include "examples/training/statistics.h"

namespace training {

void print_table(const std::string& title, const std::vector<std::vector<std::string>>& rows) {
  say("\n**%s**\n\n", title.c_str());
  for (size_t i = 0; i < rows.size(); ++i) {
    std::string line = "|", rule = "|";
    for (const std::string& cell : rows[i]) line += " " + cell + " |", rule += "---|";
    say("%s\n%s", line.c_str(), i == 0 ? (rule + "\n").c_str() : "");
  }
}

void print_tuning(const std::string& title, const Study& study, const Records& records,
                  const std::function<std::string(const nlohmann::json&)>& cell) {
  std::vector<std::vector<std::string>> rows{{"arm"}};
  for (const double lr : study.lrs) rows[0].push_back(text::format("%g", lr));
  rows[0].push_back("chosen");
  for (const std::string& arm : study.arms) {
    std::vector<std::string> row{arm};
    for (const double lr : study.lrs) {
      std::string cells;
      for (const uint64_t seed : study.tuning_seeds)
        for (const nlohmann::json& record : records)
          if (trial_of(record) == Trial{study.task, arm, lr, seed, study.updates})
            cells += (cells.empty() ? "" : ", ") + (is_astray(record) ? "astray" : cell(record));
      row.push_back(cells);
    }
    const double best = study.best_lr(arm, records);
    row.push_back(best > 0 ? text::format("%g", best) : "not yet known");
    rows.push_back(std::move(row));
  }
  print_table(title, rows);
}

std::string mean_and_interval(const std::vector<double>& values, const char* pattern) {
  const MeanInterval i = student_interval(values);
  const std::string mean = text::format(pattern, i.mean);  // NOLINT: patterns are the callers'
  return std::isinf(i.half_width) ? mean : mean + " ± " + text::format(pattern, i.half_width);
}

}  // namespace training
