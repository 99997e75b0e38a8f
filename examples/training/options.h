#pragma once
// Options that several programs have, and checks of what is typed.
#include <omp.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <latch>
#include <limits>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "examples/training/run_folder.h"

namespace training {

/// Whole numbers of this range, as people write them. CLI11 alone would take 010 for 8, and what is too large for a type,
/// or below its 0, for another number.
inline CLI::Validator whole_number(uint64_t least, uint64_t most = std::numeric_limits<int64_t>::max()) {
  const auto check = [least, most](const std::string& text) -> std::string {
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const bool digits = end == text.data() + text.size() && (text.size() == 1 || text[0] != '0');
    if (digits && (error == std::errc::result_out_of_range || number > most))
      return text + ": must be a whole number, at most " + std::to_string(most);
    return digits && error == std::errc() && number >= least
               ? ""
               : text + ": must be a whole number, at least " + std::to_string(least);
  };
  return CLI::Validator(check, "");
}

/// --model: which parameters of a run, or of each of several.
inline void add_model_option(CLI::App& command, std::string& model) {
  command.add_option("--model", model, "best, last or average parameters")
      ->capture_default_str()
      ->check(CLI::IsMember(model_files).description(""));
}

/// --run and --model: which parameters of which run.
inline void add_run_options(CLI::App& command, std::string& run, std::string& model) {
  command.add_option("--run", run, "the run folder")->required();
  add_model_option(command, model);
}

/// Starts as many threads as OpenMP is to have, before there is any work that could be lost: OpenMP itself ends the
/// program when it cannot. Throws std::system_error that tells how many there can be.
inline void start_threads() {
  const int count = omp_get_max_threads();
  std::latch all_there(1);
  std::vector<std::jthread> threads;
  try {
    for (int i = 1; i < count; ++i) threads.emplace_back([&] { all_there.wait(); });
  } catch (const std::system_error& e) {
    all_there.count_down();
    throw std::system_error(e.code(), "--threads " + std::to_string(count) + ": only " +
                                          std::to_string(threads.size() + 1) + " can be started");
  }
  all_there.count_down();
  threads.clear();
  int started = 0;  // by OpenMP now; a region that computes nothing would be left out by the compiler
#pragma omp parallel reduction(+ : started)
  ++started;
}

/// --threads, which every subcommand that computes has.
inline void add_threads_option(CLI::App& command) {
  command
      .add_option_function<int>("--threads", omp_set_num_threads,
                                "[all cores]; the results have the same bits with any number")
      ->check(whole_number(1, 1024));
  command.parse_complete_callback(start_threads);
}

}  // namespace training
