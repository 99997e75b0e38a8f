#pragma once
// A trained model, and all that translating with it needs.
#include <map>
#include <memory>
#include <string>

#include "examples/text/vocabulary.h"
#include "examples/translate/settings.h"
#include "models/decode.h"

namespace translate {

/// What becomes of a sentence of more tokens than the model takes: an error, its beginning alone, or an empty line.
enum class LongLines { fail, crop, empty };
extern const std::map<std::string, LongLines> long_lines_names;

struct Translation {
  std::string text;
  double score;  ///< log P / length^alpha, see DecodeOptions
};

/// A model with its vocabulary and settings.
struct Translator {
  Settings settings;
  Vocabulary vocabulary;
  std::unique_ptr<difftensor::models::Transformer> model;

  /// Reads a run folder, with its best, last or average parameters, in evaluation mode. Throws, naming the file that is
  /// missing, damaged or does not fit the others.
  static Translator load(const std::string& folder, const std::string& which = "best");

  /// spm.model, which the parameters belong to.
  Companion vocabulary_file() const { return {"vocabulary", "spm.model", fingerprint(vocabulary.model())}; }

  /// The best translations of each line, best first: of the options.n_best of decode() those that differ in their text,
  /// of which the same may be written with other tokens. A blank line has one, empty and of score 0. A sentence over the
  /// length limit is named by its line ("name:3: ...", if the first is line 1), in an InputError, or in a warning on
  /// stderr. Shows progress on a terminal.
  std::vector<std::vector<Translation>> n_best(const std::vector<std::string>& lines,
                                               difftensor::models::DecodeOptions options, const std::string& name,
                                               LongLines long_lines = LongLines::fail, size_t first_line = 1) const;
  /// A warning on stderr, if any of these lines has characters that the vocabulary lacks: it names the first of them.
  void warn_of_unknown(const std::vector<std::string>& lines, const std::string& name, size_t first_line = 1) const;
  /// The best of these for each line.
  std::vector<std::string> translate(const std::vector<std::string>& lines,
                                     const difftensor::models::DecodeOptions& options, const std::string& name,
                                     LongLines long_lines = LongLines::fail) const;
};

/// How many of a hundred translations are their references to the letter.
double percent_exact(const std::vector<std::string>& found, const std::vector<std::string>& references);

/// A translation beneath its source and above its reference.
std::string translation_lines(const Pair& pair, const std::string& translation);

}  // namespace translate
