#pragma once
// A run folder: everything that a training leaves, and all that translating needs.
//
//   config.json          every setting
//   spm.model            the subword vocabulary
//   model.safetensors    the parameters of the best validation so far
//   last.safetensors     the whole state of the training at its last checkpoint: --resume goes on from it
//   checkpoints/         with --average K: the parameters of the last K checkpoints, update-0000084.safetensors
//   average.safetensors  and at the end their mean
//   train_log.csv        a line for every report
//   lambda.csv           the mean lambda of every differential attention, a line for every validation
//   loss.svg             the training drawn; attention.svg: a cross-attention map (differential attention only)
//   lock                 held by the training that writes here
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "core/safetensors.h"
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

  /// Reads a run folder, with its best, last or average parameters. Throws, naming the file that is missing, damaged or
  /// does not fit the others.
  static Translator load(const std::string& folder, const std::string& which = "best");

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

/// Releases a run folder when it goes out of scope, or the process ends in whatever way.
using RunLock = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;
/// Makes sure that no two trainings write into one folder. Throws InputError if one does, or the folder cannot be
/// written to.
RunLock lock_run_folder(const std::string& folder);
/// Makes the folder for a new run, and locks it. Throws InputError if there is anything in it: nothing is overwritten.
RunLock create_run_folder(const std::string& folder);

/// The names by which a run's parameters are asked for (best, last, average), with their files.
extern const std::map<std::string, std::string> model_files;

/// A run's settings. Throws InputError naming its config.json if that cannot be read, or says what cannot be.
Settings load_run_settings(const std::string& folder);

/// A run folder's file of this name. Throws, naming it, if it cannot be read, or was trained with another vocabulary.
difftensor::SafeTensors load_run_file(const std::string& path, const Vocabulary& vocabulary);
/// Writes parameters, or more, with a fingerprint of the vocabulary that they belong to. An earlier file survives a
/// failure.
void save_run_file(const std::string& path, difftensor::SafeTensors content, const Vocabulary& vocabulary);

/// A number that changes when any of the bytes does (FNV-1a, 64 bits), in hexadecimal. Not for those who want to cheat.
std::string fingerprint(std::string_view bytes);

}  // namespace translate
