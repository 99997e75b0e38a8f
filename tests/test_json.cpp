// JSON from a stranger is read, or refused in one line that names it.
#include <doctest/doctest.h>

#include "core/json.h"
#include "tests/testing.h"

using namespace difftensor;

TEST_CASE("JSON: no more levels than a stack holds, no key twice, no number beyond double") {
  const auto repeat = [](const std::string& part, int times) {
    std::string text;
    for (int i = 0; i < times; ++i) text += part;
    return text;
  };
  CHECK(parse_json(repeat("[", 64) + repeat("]", 64), "x").is_array());
  CHECK(parse_json(R"([{"a":1},{"a":{"a":2}}])", "x").size() == 2);
  CHECK(parse_json("1e-400", "x") == 0.0);

  const auto refuses = [](const std::string& text, const std::string& expected) {
    CAPTURE(text.substr(0, 60));
    const std::string error = error_of([&] { parse_json(text, "config.json"); });
    CAPTURE(error);
    CHECK(error.starts_with("config.json: "));
    CHECK(contains(error, expected));
    CHECK(!contains(error, "\n"));
    CHECK(error.size() < 300);
  };
  for (const char* open : {"[", "{\"a\":", "[{\"a\":"}) refuses(repeat(open, 100000), "more than 64 levels");
  refuses(repeat("[", 65) + repeat("]", 65), "more than 64 levels");
  refuses(R"({"a":1,"b":2,"a":3})", R"(the key "a" is there twice)");
  refuses(R"({"b":{"a":1,"a":1}})", R"(the key "a" is there twice)");
  refuses(R"({"lr":1e400})", "not JSON: number overflow");
  for (const char* text : {"", "{", "{}}", "NaN", "{\n\"a\": tru\ne}", "\"\xe4\"", R"("\ud800")", R"({'a':1})"})
    refuses(text, "not JSON: parse error");
  refuses('"' + repeat("long ", 1000), "not JSON: parse error");
}
