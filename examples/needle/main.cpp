// needle: what does differential attention buy in retrieval? Trains the arms of the experiment, and reports.
//
//   needle run --quick                              three arms side by side, in minutes
//   needle run --study first --runs runs/needle     all arms, learning rates and seeds; stop and go on as you like
//   needle report --study first                     tables and pictures
//   needle train --arm diff --run runs/one          one training
#include "examples/needle/commands.h"
#include "examples/needle/settings.h"
#include "examples/training/program.h"

int main(int argc, char** argv) {
  return training::run_program(
      argc, argv, "needle", "Trains models to find needles in filler, with each kind of attention.", [](CLI::App& app) {
        training::add_train_command(app, [] { return std::make_unique<needle::Settings>(); });
        needle::add_run_command(app);
        needle::add_report_command(app);
        training::add_compare_command(app);
      });
}
