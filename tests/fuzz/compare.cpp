// `compare` of a run folder from a stranger: config.json, train_log.csv, lambda.csv and model.safetensors, with a byte
// 0xFF between them.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>

#include "examples/training/program.h"
#include "tests/fuzz/fuzz.h"

namespace fuzz {

const Memory memory{512 << 10, 1000};

void fuzz(std::string_view input) {
  static std::FILE* const silent = std::freopen("/dev/null", "w", stdout);
  check(silent, "there is /dev/null");
  const std::vector<std::string> files = parts(input, 4);
  file("config.json", files[0]), file("train_log.csv", files[1]);
  file("lambda.csv", files[2]), file("model.safetensors", files[3]);
  const std::string svg = folder() + "/compare.svg";
  std::filesystem::remove(svg);
  CLI::App app("", "fuzz");
  training::add_compare_command(app);
  // The program turns any exception into its message.
  const bool compared = reads<std::exception>(folder(), [&] {
    app.parse("compare " + folder() + " --svg " + svg);
  });
  check(compared == std::filesystem::exists(svg), "there is a picture if nothing is wrong, and only then");
  if (compared) check_svg(bytes_of(svg));
}

}  // namespace fuzz
