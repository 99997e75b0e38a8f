#include "examples/training/tables.h"

#include <cmath>

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

std::string mean_and_interval(const std::vector<double>& values, const char* pattern) {
  const MeanInterval i = student_interval(values);
  const std::string mean = text::format(pattern, i.mean);  // NOLINT: patterns are the callers'
  return std::isinf(i.half_width) ? mean : mean + " ± " + text::format(pattern, i.half_width);
}

}  // namespace training
