#pragma once
// A run folder: everything that a training leaves, and all that translating needs.
//
//   config.json          every setting
//   spm.model            the subword vocabulary
//   model.safetensors    the parameters with the best validation loss so far
//   train_log.csv        a line for every report
//   loss.svg             the training drawn; attention.svg: a cross-attention map (differential attention only)
#include <memory>
#include <string>

#include "examples/translate/corpus.h"
#include "examples/translate/settings.h"
#include "examples/translate/vocabulary.h"
#include "models/decode.h"

namespace translate {

struct Translation {
  std::string text;
  double score;  ///< log P / length^alpha, see DecodeOptions
};

/// A trained model with its vocabulary and settings.
struct Translator {
  Settings settings;
  Vocabulary vocabulary;
  std::unique_ptr<difftensor::models::Transformer> model;  // in evaluation mode

  /// Reads a run folder. Throws InputError naming the file that is missing, damaged or does not fit the others.
  static Translator load(const std::string& folder);

  /// The best translations of each line, best first: as many as decode() gives. A blank line has one, empty and of
  /// score 0. Throws InputError naming the line ("name:3: ...", if the first is line 1) of a sentence over the length
  /// limit. Shows progress on a terminal.
  std::vector<std::vector<Translation>> n_best(const std::vector<std::string>& lines,
                                               difftensor::models::DecodeOptions options, const std::string& name,
                                               size_t first_line = 1) const;
  /// The best of these for each line.
  std::vector<std::string> translate(const std::vector<std::string>& lines,
                                     const difftensor::models::DecodeOptions& options, const std::string& name) const;
};

/// Shows a translation beneath its source and above its reference.
void print_translation(const Pair& pair, const std::string& translation);

/// Makes the folder for a new run. Throws InputError if it holds a run already: nothing is overwritten.
void create_run_folder(const std::string& folder);

/// Saves the parameters into a run folder; an earlier file survives a failure.
void save_model(const std::string& folder, const difftensor::models::Transformer& model);

}  // namespace translate
