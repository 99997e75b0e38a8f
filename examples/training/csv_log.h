#pragma once
// The CSV files that a training adds a line to now and then.
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/files.h"

namespace training {

/// The fields of a line, without quotes around any.
std::vector<std::string> csv_fields(const std::string& line);

/// From a column's name to its field. Columns that are left out stay empty.
using CsvRow = std::map<std::string, std::string>;

/// What a log holds, and how much of it was on disk at the last checkpoint: log.csv.crc32 has the checksum of so many
/// bytes. (The CSV itself stays one that any spreadsheet opens.) A log without that file is believed.
struct LogContent {
  std::string bytes;
  std::optional<size_t> checked;
};
/// Throws text::InputError if the log cannot be read, or the checksum is not that of its bytes.
LogContent read_log(const std::string& path);

/// A CSV file with a header, in which a column "update" says when each line was written.
class CsvLog {
 public:
  /// Opens a run's file, or begins one. Columns that a file has already stay, new ones come behind them. Lines of later
  /// updates than `update`, and one that was cut off, are dropped: a training that goes on from there will write them
  /// again. Throws as read_log does, or if it cannot be written; no line has changed then.
  CsvLog(const std::string& path, const std::vector<std::string>& columns, int64_t update);

  /// Adds a line, which survives this process. This and the others throw std::runtime_error if they cannot write.
  void add(const CsvRow& row);
  /// All lines are on disk then, and their checksum too.
  void sync();
  /// Nothing can be added then.
  void close();

  /// All lines but the header.
  const std::vector<CsvRow>& rows() const { return rows_; }

 private:
  void fill(CsvRow& row) const;  // with empty fields for the columns that it leaves out
  std::string line(const CsvRow& row) const;

  std::string path_;
  std::vector<std::string> columns_;
  std::vector<CsvRow> rows_;
  size_t size_ = 0, synced_ = 0;  // bytes, in all and on disk for sure
  uint32_t checksum_ = 0;         // of all
  std::optional<difftensor::File> file_;
};

}  // namespace training
