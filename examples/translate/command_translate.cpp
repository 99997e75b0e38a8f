// translate translate: translates stdin, a line for each line.
#include <cstdio>
#include <iostream>
#include <memory>

#include "examples/translate/commands.h"
#include "examples/translate/run.h"

namespace translate {
namespace {

struct Arguments {
  std::string run, model = "best";
  int beam = 1;
};

// Reads stdin whole, so that sentences of like length are translated together.
void translate_stdin(const Arguments& a) {
  const Translator translator = Translator::load(a.run, a.model);
  for (const std::string& line : translator.translate(read_lines(std::cin, "stdin"), a.beam, "stdin"))
    std::printf("%s\n", line.c_str());
}

}  // namespace

void add_translate_command(CLI::App& app) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("translate", "translate stdin, a line for each line");
  add_decoding_options(*command, a->run, a->model, a->beam);
  add_threads_option(*command);
  command->callback([a] { translate_stdin(*a); });
}

}  // namespace translate
