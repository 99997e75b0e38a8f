// language_model: trains a Differential Transformer to say what comes next, and writes with it.
//
//   language_model train --run runs/self                          on difftensor's own sources
//   language_model train --run runs/mine --train book.txt notes   on files and folders
//   language_model sample --run runs/self --prompt "Tensor "
//   language_model evaluate runs/self                             perplexity, bits per byte, loss by position
//   language_model compare runs/a runs/b                          a table and a picture
//   language_model inspect --run runs/self --text "int x = 1;"    what a head looks at
//   language_model study run; language_model study report runs/study/sources.jsonl      kinds of attention, paired
#include "examples/language_model/commands.h"
#include "examples/language_model/settings.h"
#include "examples/training/program.h"

int main(int argc, char** argv) {
  return training::run_program(
      argc, argv, "language_model", "Trains a Differential Transformer to say what comes next, and writes with it.",
      [](CLI::App& app) {
        training::add_train_command(app, [] { return std::make_unique<language_model::Settings>(); });
        language_model::add_sample_command(app);
        language_model::add_evaluate_command(app);
        training::add_compare_command(app);
        language_model::add_inspect_command(app);
        language_model::add_study_command(app);
      });
}
