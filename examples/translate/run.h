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

/// A trained model with its vocabulary and settings.
struct Translator {
  Settings settings;
  Vocabulary vocabulary;
  std::unique_ptr<difftensor::models::Transformer> model;  // in evaluation mode

  /// Reads a run folder. Throws InputError naming the file that is missing, damaged or does not fit the others.
  static Translator load(const std::string& folder);

  /// One translation for each line; an empty line gives an empty one. Throws InputError naming the line ("name:3: ...")
  /// of a sentence over the length limit. Shows progress on a terminal.
  std::vector<std::string> translate(const std::vector<std::string>& lines, int beam, const std::string& name) const;
};

/// Shows a translation beneath its source and above its reference.
void print_translation(const Pair& pair, const std::string& translation);

/// Makes the folder for a new run. Throws InputError if it holds a run already: nothing is overwritten.
void create_run_folder(const std::string& folder);

/// Saves the parameters into a run folder; an earlier file survives a failure.
void save_model(const std::string& folder, const difftensor::models::Transformer& model);

}  // namespace translate
