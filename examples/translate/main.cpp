// translate: trains a Differential Transformer to translate, and translates with it.
//
//   translate train --run runs/numbers                      the built-in task: number words, English to German
//   translate train --train pairs.tsv --run runs/mine       any parallel text
//   echo "seven hundred" | translate translate --run runs/numbers
//   translate test --run runs/numbers                       BLEU, chrF and exact matches on held-out text
//   translate data --train pairs.tsv                        what is in a corpus, and what is wrong with it
//   translate compare runs/a runs/b                         a table and a picture
//   translate inspect --run runs/numbers --sentence "seven"  a page that shows what every head attends to
//   translate distract runs/mine                            how well it looks past an unrelated sentence
#include "examples/training/program.h"
#include "examples/training/train_command.h"
#include "examples/translate/commands.h"
#include "examples/translate/settings.h"

int main(int argc, char** argv) {
  return training::run_program(
      argc, argv, "translate", "Trains a Differential Transformer to translate, and translates with it.",
      [](CLI::App& app) {
        training::add_train_command(app, [] { return std::make_unique<translate::Settings>(); });
        translate::add_translate_command(app);
        translate::add_test_command(app);
        translate::add_data_command(app);
        training::add_compare_command(app);
        translate::add_inspect_command(app);
        translate::add_distract_command(app);
      });
}
