#pragma once
// The subcommands of translate. Each is a file of its own, with its options and what it does with them.
#include <omp.h>

#include <CLI/CLI.hpp>
#include <string>

namespace translate {

void add_train_command(CLI::App& app);      // command_train.cpp
void add_translate_command(CLI::App& app);  // command_translate.cpp
void add_test_command(CLI::App& app);       // command_test.cpp
void add_inspect_command(CLI::App& app);    // command_inspect.cpp

/// --threads, which every subcommand that computes has.
inline void add_threads_option(CLI::App& command) {
  command
      .add_option_function<int>("--threads", omp_set_num_threads,
                                "[all cores]; the results have the same bits with any number")
      ->check(CLI::Range(1, 1024));
}

/// --run and --beam, for the subcommands that translate.
inline void add_decoding_options(CLI::App& command, std::string& run, int& beam) {
  command.add_option("--run", run, "the run folder")->required();
  command.add_option("--beam", beam, "hypotheses kept; 1: greedy")->capture_default_str()->check(CLI::Range(1, 100));
}

}  // namespace translate
