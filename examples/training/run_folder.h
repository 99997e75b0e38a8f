#pragma once
// A run folder: everything that a training leaves, and all that using its model needs.
//
//   config.json          every setting
//   model.safetensors    the parameters of the best validation so far
//   last.safetensors     the whole state of the training at its last checkpoint: --resume goes on from it
//   checkpoints/         with --average K: the parameters of the last K checkpoints, update-0000084.safetensors
//   average.safetensors  and at the end their mean
//   train_log.csv        a line for every report
//   lambda.csv           the mean lambda of every differential attention, a line for every validation
//   *.csv.crc32          the checksums of these two at the last checkpoint (csv_log.h)
//   loss.svg             the training drawn
//   lock                 held by the training that writes here
// and what the program adds, such as its vocabulary and pictures of its own.
//
// A flipped bit is noticed. Each file of parameters has a checksum (core/safetensors.h), and tells in its metadata the
// fingerprint of the vocabulary and the settings that it was made with: config.json and the vocabulary must be theirs.
// (Only pictures, which nothing reads, are not checked.)
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "core/files.h"
#include "core/safetensors.h"
#include "examples/training/settings.h"
#include "nn/module.h"

namespace training {

/// A file that nobody else can lock until the object goes or the process ends in whatever way, and with it all others
/// that inherited the descriptor.
using Lock = std::unique_ptr<difftensor::File>;
/// Locks a file, which is made if it is not there. Throws InputError, "`path`: `held`", if it is locked.
Lock lock_file(const std::string& file, const std::string& path, const std::string& held);

/// A folder in which this process trains. No other can, until the object goes or the process ends in whatever way.
class RunFolder {
 public:
  /// Makes the folder for a new run. Throws text::InputError if there is anything in it: nothing is overwritten.
  static RunFolder create(const std::string& path);
  /// Opens that of a run to go on with. Throws text::InputError if a training is at work there, or it cannot be written
  /// to.
  static RunFolder open(const std::string& path);
  /// Removes it with all that is in it, as far as the disk will.
  void remove();

  const std::string path;

 private:
  static Lock lock(const std::string& path);
  RunFolder(const std::string& path, Lock lock) : path(path), lock_(std::move(lock)) {}
  Lock lock_;
};

/// The names by which a run's parameters are asked for (best, last, average), with their files.
extern const std::map<std::string, std::string> model_files;

/// Takes over the settings of the run in this folder, checked. Throws text::InputError naming its config.json if that
/// cannot be read, or says what cannot be.
void read_run_settings(const std::string& folder, SettingList& settings);

/// What the parameters of a run belong to: a file that it reads beside them, such as the vocabulary, by its fingerprint.
struct Companion {
  std::string what;         ///< "vocabulary"
  std::string file;         ///< "spm.model"
  std::string fingerprint;  ///< of its bytes
};

/// A file of parameters, or more. Throws, naming it, if it cannot be read, or was trained with another companion.
difftensor::SafeTensors load_run_file(const std::string& path, const Companion& companion);
/// Writes one, which tells its settings: those that --resume may not change. An earlier file survives a failure.
void save_run_file(const std::string& path, difftensor::SafeTensors content, const Companion& companion,
                   const SettingList& settings);

/// A setting of a run that is not what it was when one of its files was made.
struct ChangedSetting {
  std::string name, now, before;  ///< values as JSON
  bool allowed;                   ///< may --resume change it?
};
/// Those of all that the file tells; none if it was made by a version that told nothing. Throws, naming the file by its
/// `path`, if it tells no settings there.
std::vector<ChangedSetting> changed_settings(const std::string& path, const difftensor::SafeTensors& file,
                                             const SettingList& settings);
/// "lr is 0.03, but was 0.003" for each that may not change.
std::string describe_forbidden(const std::vector<ChangedSetting>& changed);

/// Gives `model` the best, last or average parameters of a run. Throws, naming the file, if it is not there, damaged, or
/// does not fit the settings, which are those of config.json.
void load_run_model(const std::string& folder, const std::string& which, const Companion& companion,
                    const SettingList& settings, difftensor::nn::Module& model);

/// A number that changes when any of the bytes does (FNV-1a, 64 bits), in hexadecimal; `more` follows them. Not for
/// those who want to cheat.
std::string fingerprint(std::string_view bytes, std::string_view more = {});

}  // namespace training
