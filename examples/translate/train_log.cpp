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

std::vector<std::string> csv_fields(const std::string& line) {
  std::vector<std::string> all(1);
  for (const char c : line)
    if (c == ',')
      all.emplace_back();
    else
      all.back() += c;
  return all;
}

TrainLog::TrainLog(const std::string& path, const std::string& header, int64_t update) : path_(path) {
  std::string kept = header + "\n";
  const std::vector<std::string> columns = csv_fields(header);
  const size_t update_column = std::find(columns.begin(), columns.end(), "update") - columns.begin();
  if (std::filesystem::exists(path)) {
    std::istringstream bytes(read_file(path));
    std::string line;
    std::getline(bytes, line);
    // A line without its end was cut off.
    while (std::getline(bytes, line) && !bytes.eof()) {
      std::vector<std::string> values = csv_fields(line);
      if (values.size() != columns.size() || std::atoll(values[update_column].c_str()) > update) continue;
      kept += line + "\n";
      lines_.push_back(std::move(values));
    }
  }
  write_file(path, kept);
  file_.reset(std::fopen(path.c_str(), "a"));
  if (!file_) throw std::runtime_error(path + ": cannot write: " + std::strerror(errno));
}

void TrainLog::line(const char* format, ...) {
  va_list arguments, again;
  va_start(arguments, format);
  va_copy(again, arguments);
  std::string text(static_cast<size_t>(std::vsnprintf(nullptr, 0, format, again)), '\0');
  std::vsnprintf(text.data(), text.size() + 1, format, arguments);
  va_end(again);
  va_end(arguments);
  if (std::fprintf(file_.get(), "%s\n", text.c_str()) < 0 || std::fflush(file_.get()) != 0)
    throw std::runtime_error(path_ + ": cannot write: " + std::strerror(errno));
  lines_.push_back(csv_fields(text));
}

}  // namespace translate
