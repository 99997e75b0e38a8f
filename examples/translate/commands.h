#pragma once
// The subcommands of translate. Each is a file of its own, with its options and what it does with them.
#include <omp.h>

#include <CLI/CLI.hpp>
#include <string>

#include "examples/translate/run.h"
#include "models/decode.h"

namespace translate {

void add_train_command(CLI::App& app);      // command_train.cpp
void add_translate_command(CLI::App& app);  // command_translate.cpp
void add_test_command(CLI::App& app);       // command_test.cpp
void add_compare_command(CLI::App& app);    // command_compare.cpp
void add_data_command(CLI::App& app);       // command_data.cpp
void add_inspect_command(CLI::App& app);    // command_inspect.cpp

/// Whole numbers in this range; the help does not repeat it.
inline CLI::Validator range(int least, int most) { return CLI::Range(least, most).description(""); }

/// Whole numbers from `least` on, as people write them: CLI11 alone would take 010 for 8, and -1 for a large one.
inline CLI::Validator whole_number(int least) {
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

/// --run and --model: which parameters of which run.
inline void add_run_options(CLI::App& command, std::string& run, std::string& model) {
  command.add_option("--run", run, "the run folder")->required();
  command.add_option("--model", model, "its best, last or average parameters")
      ->capture_default_str()
      ->check(CLI::IsMember(model_files).description(""));
}

/// What the subcommands that translate have in common.
struct DecodingArguments {
  std::string run, model = "best";
  difftensor::models::DecodeOptions options;
};

/// --run, --model, --beam, --length-penalty and --batch-size.
inline void add_decoding_options(CLI::App& command, DecodingArguments& a) {
  add_run_options(command, a.run, a.model);
  command.add_option("--beam", a.options.beam, "hypotheses kept open; 1: greedy search")
      ->capture_default_str()
      ->check(range(1, 100));
  command
      .add_option("--length-penalty", a.options.length_penalty,
                  "alpha: beam search looks for the largest log P / length^alpha; more makes longer translations")
      ->capture_default_str();
  command.add_option("--batch-size", a.options.batch_size, "sentences translated together")
      ->capture_default_str()
      ->check(range(1, 10000));
}

}  // namespace translate
