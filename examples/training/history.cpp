#include "examples/training/history.h"

#include <cmath>
#include <filesystem>
#include <set>
#include <sstream>

#include "examples/text/corpus.h"
#include "examples/training/csv_log.h"

namespace training {

using text::InputError;

namespace {

using Row = CsvRow;  // here, empty fields are left out

// The columns of train_log.csv that every task has. The others are figures of its validations.
const std::set<std::string> common_columns{"kind", "epoch",   "update",       "loss", "perplexity", "tokens_per_second",
                                           "lr",   "seconds", "gradient_norm"};

struct Table {
  std::vector<std::string> columns;
  std::vector<Row> rows;
};

Table read_csv(const std::string& path) {
  Table table;
  std::istringstream bytes(read_log(path).bytes);
  for (const std::string& line : text::read_lines(bytes, path)) {
    const std::vector<std::string> fields = csv_fields(line);
    if (table.columns.empty()) {
      table.columns = fields;
      continue;
    }
    if (fields.size() != table.columns.size())
      throw InputError(path + ":" + std::to_string(table.rows.size() + 2) + ": " + std::to_string(fields.size()) +
                       " fields under " + std::to_string(table.columns.size()) + " columns");
    Row& row = table.rows.emplace_back();
    for (size_t i = 0; i < fields.size(); ++i)
      if (!fields[i].empty()) row[table.columns[i]] = fields[i];
  }
  return table;
}

double number(const std::string& text, const std::string& path) {
  size_t used = 0;
  double value = 0;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception&) {
  }
  if (used != text.size()) throw InputError(path + ": \"" + text + "\" is no number");
  return value;
}

}  // namespace

TrainingHistory read_history(const std::string& folder) {
  TrainingHistory history;
  const std::string log = folder + "/train_log.csv", lambdas = folder + "/lambda.csv";
  const Table reports = read_csv(log);
  for (const std::string& column : reports.columns)
    if (!common_columns.contains(column)) history.figures.push_back({column, {}});
  for (const Row& row : reports.rows) {
    if (!row.count("kind") || !row.count("update")) throw InputError(log + ": a row without kind or update");
    const bool train = row.at("kind") == "train";
    const auto add = [&](const char* column, std::vector<Point>& points) {
      if (const auto field = row.find(column); field != row.end())
        points.push_back({number(row.at("update"), log), number(field->second, log)});
    };
    if (train) {  // its loss column is smoothed; its perplexity is not
      const size_t before = history.train_loss.size();
      add("perplexity", history.train_loss);
      if (history.train_loss.size() > before) history.train_loss.back().y = std::log(history.train_loss.back().y);
    } else {
      add("loss", history.valid_loss);
    }
    add("lr", history.learning_rate);
    add("gradient_norm", history.gradient_norm);
    add("tokens_per_second", history.tokens_per_second);
    for (Series& figure : history.figures) add(figure.label.c_str(), figure.points);
  }
  if (!std::filesystem::exists(lambdas)) return history;
  const Table table = read_csv(lambdas);
  for (size_t i = 1; i < table.columns.size(); ++i) {
    Series& series = history.lambda.emplace_back(Series{table.columns[i], {}});
    for (const Row& row : table.rows)
      if (row.count("update") && row.count(series.label))
        series.points.push_back({number(row.at("update"), lambdas), number(row.at(series.label), lambdas)});
  }
  return history;
}

}  // namespace training
