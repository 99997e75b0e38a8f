#include "examples/training/csv_log.h"

#include <fcntl.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <stdexcept>

#include "core/crc32.h"
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

namespace {

std::string checksum_file(const std::string& path) { return path + ".crc32"; }

std::string checksum_line(uint32_t checksum, size_t size) { return text::format("%08x of %zu bytes\n", checksum, size); }

}  // namespace

LogContent read_log(const std::string& path) {
  // The checksum first: a training that is at work lengthens its log before it renews the checksum.
  const std::string sum_path = checksum_file(path);
  if (!std::filesystem::exists(sum_path)) return {text::read_file(path), {}};
  const std::string sum = text::read_file(sum_path);
  LogContent log{std::filesystem::exists(path) ? text::read_file(path) : "", 0};
  size_t size = 0;
  std::sscanf(sum.c_str(), "%*x of %zu", &size);
  if (size > log.bytes.size() || sum != checksum_line(difftensor::crc32(log.bytes.substr(0, size)), size))
    throw text::InputError(path + ": it is damaged, or was changed by others than a training: it does not fit " + sum_path +
                           "; take another copy of both, or remove the latter to believe the log as it is");
  log.checked = size;
  return log;
}

CsvLog::CsvLog(const std::string& path, const std::vector<std::string>& columns, int64_t update) : path_(path) {
  if (std::filesystem::exists(path) || std::filesystem::exists(checksum_file(path))) {
    LogContent log = read_log(path);
    // Lines behind the checksum are of later updates, and nobody knows whether they are whole.
    if (log.checked) log.bytes.resize(*log.checked);
    std::istringstream bytes(log.bytes);
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

  for (CsvRow& row : rows_) fill(row);
  CsvRow names;
  for (const std::string& column : columns_) names[column] = column;
  std::string kept = line(names);
  for (const CsvRow& row : rows_) kept += line(row);
  size_ = kept.size(), checksum_ = difftensor::crc32(kept);
  // Between these two the log has no checksum, rather than a wrong one.
  difftensor::remove_file(checksum_file(path));
  text::write_file(path, kept);
  file_.emplace(path, O_WRONLY | O_APPEND, "cannot write " + path);
  sync();
}

void CsvLog::fill(CsvRow& row) const {
  for (const std::string& column : columns_) row.try_emplace(column);
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
  file_->write(text);
  size_ += text.size(), checksum_ = difftensor::crc32(text, checksum_);
  rows_.push_back(row);
  fill(rows_.back());
}

void CsvLog::sync() {
  if (synced_ == size_) return;
  file_->sync();
  text::write_file(checksum_file(path_), checksum_line(checksum_, size_));
  synced_ = size_;
}

void CsvLog::close() { file_->close(); }

}  // namespace training
