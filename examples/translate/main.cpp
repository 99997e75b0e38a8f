// translate: trains a Differential Transformer to translate, and translates with it.
//
//   translate train --run runs/numbers                      the built-in task: number words, English to German
//   translate train --train pairs.tsv --run runs/mine       any parallel text
//   echo "seven hundred" | translate translate --run runs/numbers
//   translate test --run runs/numbers                       BLEU and exact matches on held-out text
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "examples/fast_blas.h"
#include "examples/translate/commands.h"
#include "examples/translate/train.h"

namespace {

// A standard stream that is closed would give its number to the next file that is opened, and what is printed would end
// up in there: /dev/null takes its place. Returns whether there is a stdout.
bool open_standard_streams() {
  const bool has_stdout = fcntl(STDOUT_FILENO, F_GETFD) != -1;
  int file;
  do file = open("/dev/null", O_RDWR);
  while (file != -1 && file <= STDERR_FILENO);
  if (file != -1) close(file);
  return has_stdout;
}

int run(int argc, char** argv) {
  CLI::App app("Trains a Differential Transformer to translate, and translates with it.", "translate");
  app.require_subcommand(1);
  translate::add_train_command(app);
  translate::add_translate_command(app);
  translate::add_test_command(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help
    std::fprintf(stderr, "translate: %s (translate --help lists the options)\n", e.what());
    return 2;
  } catch (const translate::Interrupted& e) {
    return 128 + e.signal;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "translate: %s\n", e.what());
    return 2;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (!open_standard_streams()) {
    std::fprintf(stderr, "translate: stdout: is closed\n");
    return 2;
  }
  // Past a limit on the size of files, writing is to fail with a message as on a full disk, not to kill.
  std::signal(SIGXFSZ, SIG_IGN);
  ensure_fast_blas(argv);
  const int status = run(argc, argv);
  if (status == 0 && (std::fflush(stdout) != 0 || std::ferror(stdout))) {
    std::fprintf(stderr, "translate: stdout: cannot write: %s\n", std::strerror(errno));
    return 2;
  }
  return status;
}
