// JSON from a stranger is read, or refused in one line that names it.
#include <doctest/doctest.h>

#include "core/files.h"
#include "core/json.h"
#include "core/ops.h"
#include "core/safetensors.h"
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
  CHECK_NOTHROW(parse_json(repeat("[", 64) + "1" + repeat("]", 64), "x"));
  refuses(R"({"a":1,"b":2,"a":3})", R"(the key "a" is there twice)");
  refuses(R"({"b":{"a":1,"a":1}})", R"(the key "a" is there twice)");
  refuses(R"({"lr":1e400})", "not JSON: number overflow");
  for (const char* text : {"", "{", "{}}", "NaN", "{\n\"a\": tru\ne}", "\"\xe4\"", R"("\ud800")", R"({'a':1})"})
    refuses(text, "not JSON: parse error");
  refuses('"' + repeat("long ", 1000), "not JSON: parse error");
}

TEST_CASE("a message stays one line, whatever names it quotes") {
  CHECK(one_line("a\nb\r\tc\x1B[2J\x7F Stra\u00DFe") == "a b  c [2J  Stra\u00DFe");
  const TemporaryFolder folder;
  SafeTensors file;
  file.tensors["two\nlines"] = ones({2});
  save_safetensors(folder / "a.safetensors", file);
  std::string bytes = read_bytes(folder / "a.safetensors");
  bytes.replace(bytes.find("\"F") + 2, 2, "16");
  bytes.replace(bytes.find("crc32"), 5, "other");  // without a checksum, as other programs write it
  write_atomically(folder / "a.safetensors", {bytes});
  const std::string error = error_of([&] { load_safetensors(folder / "a.safetensors"); });
  CHECK(error.ends_with("two lines: dtype F16 is none of F32, F64, I32, I64"));
}
