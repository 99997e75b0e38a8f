#pragma once
// The subcommands of translate, but for train and compare, which every program has (examples/training). Each is a file
// of its own, with its options and what it does with them.
#include <string>

#include "examples/translate/translator.h"
#include "models/decode.h"

namespace CLI {
class App;
}

namespace translate {

void add_translate_command(CLI::App& app);  // command_translate.cpp
void add_test_command(CLI::App& app);       // command_test.cpp
void add_data_command(CLI::App& app);       // command_data.cpp
void add_inspect_command(CLI::App& app);    // command_inspect.cpp
void add_distract_command(CLI::App& app);   // command_distract.cpp

/// What the subcommands that translate have in common.
struct DecodingArguments {
  std::string run, model = "best";
  difftensor::models::DecodeOptions options;
  std::string long_lines = "fail";
};

/// --beam, --length-penalty, --batch-size and --long-lines; --run and --model are added beside them.
void add_decoding_options(CLI::App& command, DecodingArguments& a);  // command_translate.cpp

/// What is tested on, and how it is compared.
struct TestArguments {
  std::string source, target;
  bool tokenized = false, lowercase = false;

  /// What messages call it.
  std::string name() const { return source.empty() ? "test" : source; }
};
/// --src, --tgt, --tokenized and --lowercase.
void add_test_options(CLI::App& command, TestArguments& a);  // command_test.cpp
/// The pairs of those files, or of a task its own. Throws InputError naming the `run` that has neither.
Pairs test_pairs(const Translator& translator, const std::string& run, const TestArguments& a);

}  // namespace translate
