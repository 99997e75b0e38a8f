// translate: trains a Differential Transformer to translate, and translates with it.
//
//   translate train --run runs/numbers                      the built-in task: number words, English to German
//   translate train --train pairs.tsv --run runs/mine       any parallel text
//   echo "seven hundred" | translate translate --run runs/numbers
//   translate test --run runs/numbers                       BLEU and exact matches on held-out text
//   translate inspect --run runs/numbers --sentence "seven hundred"   a page that shows what every head attends to
#include <cstdio>

#include "examples/fast_blas.h"
#include "examples/translate/commands.h"

int main(int argc, char** argv) {
  ensure_fast_blas(argv);
  CLI::App app("Trains a Differential Transformer to translate, and translates with it.", "translate");
  app.require_subcommand(1);
  translate::add_train_command(app);
  translate::add_translate_command(app);
  translate::add_test_command(app);
  translate::add_inspect_command(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help
    std::fprintf(stderr, "translate: %s (translate --help lists the options)\n", e.what());
    return 2;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "translate: %s\n", e.what());
    return 2;
  }
  return 0;
}
