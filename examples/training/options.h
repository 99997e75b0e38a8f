#pragma once
// Options that several programs have, and checks of what is typed.
#include <omp.h>

#include <CLI/CLI.hpp>
#include <string>

namespace training {

/// Whole numbers in this range; the help does not repeat it.
inline CLI::Validator range(int least, int most) { return CLI::Range(least, most).description(""); }

/// Whole numbers from `least` on, as people write them: CLI11 alone would take 010 for 8, and -1 for a large one.
inline CLI::Validator whole_number(int64_t least) {
  const auto check = [least](const std::string& text) {
    const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
    const bool decimal = digits && (text == "0" || text[0] != '0');
    const bool ok = decimal && (text.size() > 9 || std::stoi(text) >= least);
    return ok ? "" : text + ": must be a whole number, at least " + std::to_string(least);
  };
  return CLI::Validator(check, "");
}

/// --threads, which every subcommand that computes has.
inline void add_threads_option(CLI::App& command) {
  command
      .add_option_function<int>("--threads", omp_set_num_threads,
                                "[all cores]; the results have the same bits with any number")
      ->check(range(1, 1024));
}

}  // namespace training
