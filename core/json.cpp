#include "core/json.h"

#include <set>
#include <vector>

namespace difftensor::inline DT_PRECISION {

using nlohmann::json;

json parse_json(std::string_view text, const std::string& name) {
  using Event = json::parse_event_t;
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto check = [&](int depth, Event event, const json& value) {
    if (event == Event::object_start || event == Event::array_start)
      require(depth < 64, name.c_str(), "not JSON that is read here: more than 64 levels of arrays and objects");
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key)
      require(keys.back().insert(value.get<std::string>()).second, name.c_str(), "the key ", value, " is there twice");
    return true;
  };
  try {
    return json::parse(text, check);
  } catch (const json::exception& e) {
    throw std::invalid_argument(name + ": not JSON: " + json_reason(e));
  }
}

std::string json_reason(const json::exception& e) {
  // "[json.exception.parse_error.101] parse error at line 1, column 8: ...", perhaps with a line break of the text
  std::string reason = e.what();
  reason.erase(0, reason.find("] ") + 2);
  if (reason.size() > 200) reason.replace(200, reason.npos, " ...");  // it quotes what it read last, however long
  return one_line(reason);
}

std::string one_line(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7F') c = ' ';
  return text;
}

}  // namespace difftensor::inline DT_PRECISION
