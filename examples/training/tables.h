#pragma once
// Tables in Markdown: read on a screen, or copied into a page.
#include <functional>
#include <string>
#include <vector>

#include "examples/training/study.h"

namespace training {

/// A title and a table on stdout; its first row is the head.
void print_table(const std::string& title, const std::vector<std::vector<std::string>>& rows);

/// How each arm's learning rate was chosen: `cell` says in a few words what a training on a tuning seed gave, if
/// it did not go astray.
void print_tuning(const std::string& title, const Study& study, const Records& records,
                  const std::function<std::string(const nlohmann::json& record)>& cell);

/// "0.979 ± 0.012": the mean and its 95% interval (student_interval); of a single value that alone. Each as `pattern`
/// has it. Throws std::invalid_argument without values.
std::string mean_and_interval(const std::vector<double>& values, const char* pattern = "%.3f");

}  // namespace training
