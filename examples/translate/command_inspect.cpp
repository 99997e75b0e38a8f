// translate inspect: shows what every head attends to while a sentence is translated.
#include <cstdio>
#include <memory>

#include "examples/training/options.h"
#include "examples/translate/commands.h"
#include "examples/translate/inspect.h"

namespace translate {
namespace {

struct Arguments {
  std::string run, model = "best", sentence, out;
  std::optional<std::string> target;
  int beam = 1;
};

void inspect(const Arguments& a) {
  const Translator translator = Translator::load(a.run, a.model);
  const std::string out = a.out.empty() ? a.run + "/inspect.html" : a.out;
  write_file(out, inspection_page(translator, a.sentence, a.target, a.beam));
  std::printf("%s: open it in a browser\n", out.c_str());
}

}  // namespace

void add_inspect_command(CLI::App& app) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("inspect", "make a page that shows what every head attends to");
  add_run_options(*command, a->run, a->model);
  command->add_option("--beam", a->beam, "hypotheses kept open; 1: greedy search")
      ->capture_default_str()
      ->check(whole_number(1, 100));
  command->add_option("--sentence", a->sentence, "what to translate")->required();
  command->add_option("--target", a->target, "a translation to look at, instead of the model's own")
      ->excludes("--beam");
  command->add_option("--out", a->out, "the page [inspect.html in the run folder]");
  add_threads_option(*command);
  command->footer("Example:\n  translate inspect --run runs/numbers --sentence \"seven hundred forty-one\"");
  command->callback([a] { inspect(*a); });
}

}  // namespace translate
