// translate translate: translates stdin, a line for each line.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <memory>

#include "examples/text/unicode.h"
#include "examples/training/options.h"
#include "examples/translate/commands.h"
#include "examples/translate/translator.h"

namespace translate {
namespace {

struct Arguments {
  DecodingArguments decoding;
  int n_best = 0;
};

LongLines long_lines(const Arguments& a) { return long_lines_names.at(a.decoding.long_lines); }

// The translation alone; or the n best as Marian prints them, less its features: the number of their line, from 0;
// text; score.
void print(const std::vector<Translation>& found, size_t line, int n_best) {
  if (n_best == 0) text::print(found.at(0).text + "\n");
  for (size_t i = 0; i < std::min<size_t>(n_best, found.size()); ++i)
    text::print(format("%zu ||| ", line) + found[i].text + format(" ||| %.4f\n", found[i].score));
}

// Several hypotheses may be one text. So all are asked for where more than one text is wanted.
difftensor::models::DecodeOptions options_of(const Arguments& a) {
  difftensor::models::DecodeOptions options = a.decoding.options;
  if (a.n_best > 0) options.n_best = options.beam;
  return options;
}

// Somebody types: every line is answered at once, and one that cannot be translated does not end the session.
void answer_terminal(const Translator& translator, const Arguments& a) {
  size_t number = 0;
  for (std::string line; std::getline(std::cin, line); ++number) {
    try {
      const std::string name = "stdin:" + std::to_string(number + 1);
      if (find_invalid_utf8(line) != std::string::npos) throw InputError(name + ": this is not valid UTF-8");
      translator.warn_of_unknown({line}, "stdin", number + 1);
      print(translator.n_best({line}, options_of(a), "stdin", long_lines(a), number + 1)[0], number, a.n_best);
    } catch (const InputError& e) {
      std::fprintf(stderr, "translate: %s\n", e.what());
    }
    std::fflush(stdout);
  }
}

void translate_stdin(const Arguments& a) {
  if (a.n_best > a.decoding.options.beam)
    throw InputError("--n-best " + std::to_string(a.n_best) + " needs a --beam as wide or wider");
  const Translator translator = Translator::load(a.decoding.run, a.decoding.model);
  if (isatty(STDIN_FILENO)) return answer_terminal(translator, a);
  // Files and pipes are read whole, so that sentences of like length are translated together.
  const std::vector<std::string> lines = read_lines(std::cin, "stdin");
  translator.warn_of_unknown(lines, "stdin");
  const auto found = translator.n_best(lines, options_of(a), "stdin", long_lines(a));
  for (size_t i = 0; i < found.size(); ++i) print(found[i], i, a.n_best);
}

}  // namespace

void add_decoding_options(CLI::App& command, DecodingArguments& a) {
  command.add_option("--beam", a.options.beam, "hypotheses kept open; 1: greedy search")
      ->capture_default_str()
      ->check(whole_number(1, 100));
  command
      .add_option("--length-penalty", a.options.length_penalty,
                  "alpha: beam search looks for the largest log P / length^alpha; more makes longer translations")
      ->capture_default_str();
  command.add_option("--batch-size", a.options.batch_size, "sentences translated together")
      ->capture_default_str()
      ->check(whole_number(1, 10000));
  command
      .add_option("--long-lines", a.long_lines,
                  "a sentence of more tokens than the model takes: fail, crop (translate its beginning) or empty")
      ->capture_default_str()
      ->check(CLI::IsMember(long_lines_names).description(""));
}

void add_translate_command(CLI::App& app) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("translate", "translate stdin, a line for each line");
  add_run_options(*command, a->decoding.run, a->decoding.model);
  add_decoding_options(*command, a->decoding);
  command
      ->add_option(
          "--n-best", a->n_best,
          "print so many translations of each line, fewer if the beam has no more that differ: its number, text "
          "and score, with ||| between")
      ->check(whole_number(1, 100));
  add_threads_option(*command);
  command->callback([a] { translate_stdin(*a); });
  command->footer(
      "Lines that are typed are answered at once; files and pipes are read whole first. Examples:\n"
      "  echo \"seven hundred forty-one\" | translate translate --run runs/numbers\n"
      "  translate translate --run runs/mine --beam 5 --n-best 3 < source.txt > translations.txt");
}

}  // namespace translate
