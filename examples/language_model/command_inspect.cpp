// language_model inspect: what a head looks at while the model reads a text.
#include <cstdio>
#include <memory>

#include "examples/language_model/attention_picture.h"
#include "examples/language_model/commands.h"
#include "examples/text/unicode.h"
#include "examples/training/options.h"

namespace language_model {
namespace {

struct Arguments {
  std::string run, model = "best", text, svg;
  int layer = 0, head = 1;
};

void inspect(const Arguments& a) {
  if (find_invalid_utf8(a.text) != std::string::npos) throw InputError("--text: this is not valid UTF-8");
  const TrainedModel trained = TrainedModel::load(a.run, a.model);
  if (trained.settings.attention == "softmax")
    throw InputError(a.run + ": has softmax attention; the picture is of differential attention's two maps");
  std::vector<int32_t> ids{trained.tokenizer.end()};
  const std::vector<int32_t> text = trained.tokenizer.encode(a.text);
  trained.warn_of_unknown(text, "--text");
  ids.insert(ids.end(), text.begin(), text.end());
  if (const size_t most = 100; ids.size() > most)
    throw InputError("--text: " + std::to_string(ids.size()) + " tokens; a picture holds " + std::to_string(most));
  const std::string svg = a.svg.empty() ? a.run + "/attention.svg" : a.svg;
  write_file(svg, attention_chart(attention_picture(trained, ids, a.layer, a.head)));
  std::printf("attention drawn in %s\n", svg.c_str());
}

}  // namespace

void add_inspect_command(CLI::App& app) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("inspect", "draw what a head looks at while the model reads a text");
  training::add_run_options(*command, a->run, a->model);
  command->add_option("--text", a->text, "what it reads")->required();
  command->add_option("--layer", a->layer, "from 1 [the layer and head that look most decidedly]")
      ->check(training::whole_number(1, 1000));
  command->add_option("--head", a->head, "of that layer, from 1")
      ->capture_default_str()
      ->check(training::whole_number(1, 1000))
      ->needs("--layer");
  command->add_option("--svg", a->svg, "the picture to write [attention.svg in the run folder]");
  training::add_threads_option(*command);
  command->callback([a] { inspect(*a); });
  command->footer(
      "Example:\n  language_model inspect --run runs/self --text 'for (int i = 0; i < n; ++i) sum += x[i];' --layer 2");
}

}  // namespace language_model
