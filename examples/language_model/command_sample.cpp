// language_model sample: writes on after a prompt.
#include <cstdio>
#include <memory>

#include "examples/language_model/commands.h"
#include "examples/language_model/trained_model.h"
#include "examples/text/unicode.h"
#include "examples/training/options.h"
#include "models/sample.h"

namespace language_model {
namespace {

namespace models = difftensor::models;

struct Arguments {
  std::string run, model = "best", prompt;
  int count = 1;
  models::SampleOptions options;
};

// What follows on `shown` in the whole text, as far as the next token cannot change it: of a character only all its bytes
// at once, and of an escape (examples/text/escapes.h) not the first character alone.
std::string news(const std::string& text, size_t shown) {
  size_t end = text.size();
  if (text.ends_with("\uEE00")) end -= 3;
  if (const size_t broken = find_invalid_utf8(std::string_view(text).substr(shown));
      broken != std::string::npos && text.size() - shown - broken < 4)
    end = shown + broken;
  return text.substr(shown, end - shown);
}

void sample(const Arguments& a) {
  if (find_invalid_utf8(a.prompt) != std::string::npos) throw InputError("--prompt: this is not valid UTF-8");
  const TrainedModel trained = TrainedModel::load(a.run, a.model);
  std::vector<int32_t> prompt{trained.tokenizer.end()};
  const std::vector<int32_t> ids = trained.tokenizer.encode(a.prompt);
  trained.warn_of_unknown(ids, "--prompt");
  prompt.insert(prompt.end(), ids.begin(), ids.end());
  models::SampleOptions options = a.options;
  options.window = trained.settings.context;
  options.end = trained.tokenizer.end();

  // One text appears as it is written; several, which are written at the same time, one after the other.
  std::vector<int32_t> all = ids;
  size_t shown = 0;
  const auto show = [&](const std::string& text) {
    print(text);
    std::fflush(stdout);
    shown += text.size();
  };
  if (a.count == 1) show(trained.tokenizer.decode(all));
  const auto texts = models::sample(*trained.model, std::vector(a.count, prompt), options, [&](size_t, int32_t token) {
    if (a.count > 1) return;
    all.push_back(token);
    show(news(trained.tokenizer.decode(all), shown));
  });
  if (a.count == 1) print(trained.tokenizer.decode(all).substr(shown) + "\n");
  for (size_t i = 0; a.count > 1 && i < texts.size(); ++i) {
    all = ids;
    all.insert(all.end(), texts[i].begin(), texts[i].end());
    print(format("--- %zu ---\n", i + 1) + trained.tokenizer.decode(all) + "\n");
  }
}

}  // namespace

void add_sample_command(CLI::App& app) {
  auto a = std::make_shared<Arguments>();
  a->options.temperature = 0.8;
  a->options.max_tokens = 200;
  CLI::App* command = app.add_subcommand("sample", "write on after a prompt");
  training::add_run_options(*command, a->run, a->model);
  command->add_option("--prompt", a->prompt, "where the text begins [as a file would]");
  command->add_option("--count", a->count, "texts to write")
      ->capture_default_str()
      ->check(training::whole_number(1, 10000));
  command->add_option("--tokens", a->options.max_tokens, "at most so many, after the prompt")
      ->capture_default_str()
      ->check(training::whole_number(1, 1000000));
  command->add_option("--temperature", a->options.temperature, "below 1 safer, above 1 bolder; 0: the likeliest token")
      ->capture_default_str();
  command->add_option("--top-k", a->options.top_k, "draw from the k likeliest tokens only [all]")
      ->check(training::whole_number(0, 1000000));
  command->add_option("--top-p", a->options.top_p, "of these, from the fewest whose probabilities add up to p [all]");
  command->add_option("--seed", a->options.seed, "for other texts")
      ->capture_default_str()
      ->check(training::whole_number(0, std::numeric_limits<uint64_t>::max()));
  training::add_threads_option(*command);
  command->callback([a] { sample(*a); });
  command->footer(
      "The model looks back over as many tokens as it was trained on. Examples:\n"
      "  language_model sample --run runs/self --prompt 'Tensor relu('\n"
      "  language_model sample --run runs/self --count 3 --temperature 0.7 --top-p 0.9");
}

}  // namespace language_model
