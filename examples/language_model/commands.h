#pragma once
// The subcommands of language_model, but for train and compare, which every program has (examples/training).
namespace CLI {
class App;
}

namespace language_model {

void add_sample_command(CLI::App& app);    // command_sample.cpp
void add_evaluate_command(CLI::App& app);  // command_evaluate.cpp
void add_inspect_command(CLI::App& app);   // command_inspect.cpp
/// `study`, with the subcommands run and report.
void add_study_command(CLI::App& app);           // command_study.cpp
void add_study_report_command(CLI::App& study);  // command_study_report.cpp

}  // namespace language_model
