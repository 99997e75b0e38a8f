#pragma once
// The CSV files that a training adds a line to now and then.
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

namespace translate {

/// The fields of a line, without quotes around any.
std::vector<std::string> csv_fields(const std::string& line);

/// A CSV file with a header, in which a column "update" says when each line was written.
class TrainLog {
 public:
  /// Opens a run's file, or begins one. Lines of later updates than `update`, and one that was cut off, are dropped: a
  /// training that goes on from there will write them again.
  TrainLog(const std::string& path, const std::string& header, int64_t update);

  /// Adds a line, and sees to it that it is written. Throws std::runtime_error if it cannot be.
  __attribute__((format(printf, 2, 3))) void line(const char* format, ...);

  /// All lines but the header, cut into fields.
  const std::vector<std::vector<std::string>>& lines() const { return lines_; }

 private:
  std::string path_;
  std::vector<std::vector<std::string>> lines_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_{nullptr, std::fclose};
};

}  // namespace translate
