#pragma once
// JSON from a stranger: settings, the header of a file of tensors, the record of a checkpoint.
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/base.h"

namespace difftensor::inline DT_PRECISION {

/// The value of a JSON text. Throws std::invalid_argument, in one line, on what is no JSON, and
/// - beyond 64 levels of arrays and objects: whoever copies, writes or destroys a value goes down all its levels, and a
///   text of brackets alone could be deeper than the stack;
/// - at a key that an object has already: one of the two values would be lost without a word;
/// - at a number beyond double, such as 1e400.
/// `name` stands for the text in the message: "config.json".
nlohmann::json parse_json(std::string_view text, const std::string& name);

/// What an exception of the JSON library says, in one line and without its number.
std::string json_reason(const nlohmann::json::exception& e);

/// The text with a space for each control character, so that a message which quotes a stranger's names stays one line,
/// and cannot command the terminal.
std::string one_line(std::string text);

}  // namespace difftensor::inline DT_PRECISION
