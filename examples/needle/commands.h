#pragma once
// The subcommands of needle that are its own.
namespace CLI {
class App;
}

namespace needle {

/// `run`: all trainings of a study, as many at once as there are cores.
void add_run_command(CLI::App& app);
/// `report`: what a study's records tell, as tables and pictures.
void add_report_command(CLI::App& app);

}  // namespace needle
