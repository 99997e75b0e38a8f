#include "examples/training/csv_log.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <stdexcept>

#include "examples/text/files.h"

namespace training {

std::vector<std::string> csv_fields(const std::string& line) {
  std::vector<std::string> all(1);
  for (const char c : line)
    if (c == ',')
      all.emplace_back();
    else
      all.back() += c;
  return all;
}

CsvLog::CsvLog(const std::string& path, const std::vector<std::string>& columns, int64_t update) : path_(path) {
  if (std::filesystem::exists(path)) {
    std::istringstream bytes(text::read_file(path));
    std::string text;
    if (std::getline(bytes, text)) columns_ = csv_fields(text);
    // A line without its end was cut off.
    while (std::getline(bytes, text) && !bytes.eof()) {
      const std::vector<std::string> fields = csv_fields(text);
      if (fields.size() != columns_.size()) continue;
      CsvRow row;
      for (size_t i = 0; i < fields.size(); ++i) row[columns_[i]] = fields[i];
      if (std::atoll(row["update"].c_str()) <= update) rows_.push_back(std::move(row));
    }
  }
  for (const std::string& column : columns)
    if (std::find(columns_.begin(), columns_.end(), column) == columns_.end()) columns_.push_back(column);

  CsvRow names;
  for (const std::string& column : columns_) names[column] = column;
  std::string kept = line(names);
  for (const CsvRow& row : rows_) kept += line(row);
  text::write_file(path, kept);
  file_.reset(std::fopen(path.c_str(), "a"));
  if (!file_) throw std::runtime_error(path + ": cannot write: " + std::strerror(errno));
}

std::string CsvLog::line(const CsvRow& row) const {
  std::string text;
  for (size_t i = 0; i < columns_.size(); ++i) {
    const auto field = row.find(columns_[i]);
    text += (i ? "," : "") + (field == row.end() ? "" : field->second);
  }
  return text + "\n";
}

void CsvLog::add(const CsvRow& row) {
  const std::string text = line(row);
  if (std::fputs(text.c_str(), file_.get()) < 0 || std::fflush(file_.get()) != 0)
    throw std::runtime_error(path_ + ": cannot write: " + std::strerror(errno));
  rows_.push_back(row);
}

}  // namespace training
