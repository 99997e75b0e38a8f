#include "examples/text/files.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "core/files.h"
#include "core/json.h"

namespace text {

InputError::InputError(const std::string& message) : std::runtime_error(difftensor::one_line(message)) {}

std::string read_file(const std::string& path) {
  try {
    return difftensor::read_bytes(path);
  } catch (const std::system_error& error) {
    throw InputError(path + ": " + error.what());
  }
}

nlohmann::json read_json(const std::string& path) { return parse_json(read_file(path), path); }

nlohmann::json parse_json(std::string_view text, const std::string& name) {
  try {
    return difftensor::parse_json(text, name);
  } catch (const std::invalid_argument& error) {
    throw InputError(error.what());
  }
}

void require_writable(const std::string& path) {
  if (std::error_code none; std::filesystem::is_directory(path, none))
    throw InputError(path + ": cannot write: it is a folder");
  // Room for the .tmp that it is written as.
  if (std::filesystem::path(path).filename().string().size() > 251)
    throw InputError(path + ": cannot write: " + std::strerror(ENAMETOOLONG));
  const std::string folder = std::filesystem::path(path).parent_path();
  if (access(folder.empty() ? "." : folder.c_str(), W_OK | X_OK) != 0)
    throw InputError(path + ": cannot write: " + std::strerror(errno));
}

void write_file(const std::string& path, const std::string& bytes) {
  try {
    difftensor::write_atomically(path, {bytes});
  } catch (const std::system_error& error) {
    throw std::runtime_error(path + ": cannot write: " + error.code().message());
  }
}

void print(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

std::string format(const char* pattern, ...) {
  va_list arguments;
  va_start(arguments, pattern);
  std::string written = vformat(pattern, arguments);
  va_end(arguments);
  return written;
}

std::string vformat(const char* pattern, va_list arguments) {
  va_list again;
  va_copy(again, arguments);
  std::string written(static_cast<size_t>(std::vsnprintf(nullptr, 0, pattern, again)), '\0');
  va_end(again);
  std::vsnprintf(written.data(), written.size() + 1, pattern, arguments);
  return written;
}

}  // namespace text
