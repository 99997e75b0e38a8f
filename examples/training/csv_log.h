#pragma once
// The CSV files that a training adds a line to now and then.
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace training {

/// The fields of a line, without quotes around any.
std::vector<std::string> csv_fields(const std::string& line);

/// From a column's name to its field. Columns that are left out stay empty.
using CsvRow = std::map<std::string, std::string>;

/// A CSV file with a header, in which a column "update" says when each line was written.
class CsvLog {
 public:
  /// Opens a run's file, or begins one. Columns that a file has already stay, new ones come behind them. Lines of later
  /// updates than `update`, and one that was cut off, are dropped: a training that goes on from there will write them
  /// again.
  CsvLog(const std::string& path, const std::vector<std::string>& columns, int64_t update);

  /// Adds a line, and sees to it that it is written. Throws std::runtime_error if it cannot be.
  void add(const CsvRow& row);

  /// All lines but the header.
  const std::vector<CsvRow>& rows() const { return rows_; }

 private:
  std::string line(const CsvRow& row) const;

  std::string path_;
  std::vector<std::string> columns_;
  std::vector<CsvRow> rows_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_{nullptr, std::fclose};
};

}  // namespace training
