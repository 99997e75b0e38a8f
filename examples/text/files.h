#pragma once
// Files read and written whole, with errors that a user can act on.
#include <cstdarg>
#include <nlohmann/json_fwd.hpp>
#include <stdexcept>
#include <string>
#include <string_view>

namespace text {

/// Something is wrong with what the user gave us. The message is one line, whatever it quotes: "train.en:17: ...".
struct InputError : std::runtime_error {
  explicit InputError(const std::string& message);
};

/// A whole file's bytes. Throws InputError if it cannot be read.
std::string read_file(const std::string& path);
/// What a JSON file holds (difftensor::parse_json). Throws InputError naming the file if it cannot be read or is none.
nlohmann::json read_json(const std::string& path);
/// The same of a text that is read already, such as a line of a file: `name` stands for it in the message.
nlohmann::json parse_json(std::string_view text, const std::string& name);
/// Throws InputError if a file could not be written there, for want of its folder or of permission, or since its name is too
/// long for another one with .tmp behind it.
void require_writable(const std::string& path);
/// Writes a file whole or not at all (difftensor::write_atomically). Throws std::runtime_error if it cannot.
void write_file(const std::string& path, const std::string& bytes);

/// To stdout, as it is: a NUL in a text does not end it, as it would for printf.
void print(std::string_view text);

/// As printf and vprintf, into a string.
__attribute__((format(printf, 1, 2))) std::string format(const char* pattern, ...);
std::string vformat(const char* pattern, va_list arguments);

}  // namespace text
