#include "examples/translate/train_log.h"

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <stdexcept>

#include "examples/translate/corpus.h"

namespace translate {
namespace {
std::vector<std::string> fields(const std::string& line) {
  std::vector<std::string> all(1);
  for (const char c : line)
    if (c == ',')
      all.emplace_back();
    else
      all.back() += c;
  return all;
}
}  // namespace

TrainLog::TrainLog(const std::string& path, const std::string& header, int64_t update) : path_(path) {
  std::string kept = header + "\n";
  const std::vector<std::string> columns = fields(header);
  const size_t update_column = std::find(columns.begin(), columns.end(), "update") - columns.begin();
  if (std::filesystem::exists(path)) {
    std::istringstream bytes(read_file(path));
    std::string line;
    std::getline(bytes, line);
    // A line without its end was cut off.
    while (std::getline(bytes, line) && !bytes.eof()) {
      std::vector<std::string> values = fields(line);
      if (values.size() != columns.size() || std::atoll(values[update_column].c_str()) > update) continue;
      kept += line + "\n";
      earlier_.push_back(std::move(values));
    }
  }
  write_file(path, kept);
  file_.reset(std::fopen(path.c_str(), "a"));
  if (!file_) throw std::runtime_error(path + ": cannot write: " + std::strerror(errno));
}

void TrainLog::line(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const bool ok = std::vfprintf(file_.get(), format, arguments) >= 0 && std::fflush(file_.get()) == 0;
  va_end(arguments);
  if (!ok) throw std::runtime_error(path_ + ": cannot write: " + std::strerror(errno));
}

}  // namespace translate
