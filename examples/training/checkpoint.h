#pragma once
// What is saved of a training while it goes on.
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "examples/training/run_folder.h"

namespace training {

/// All that a training needs to go on to the same bits, besides the parameters and the optimizer's state. Learning
/// rate, shuffles and dropout are not here: they are functions of the settings and the update.
struct TrainingState {
  int64_t update = 0;                                // done
  double best = std::numeric_limits<double>::max();  // validation: its loss, or a figure with its sign turned
  int64_t since_best = 0;                            // validations that were no better
  double loss = 0, nll = 0;                          // summed over target tokens since the last line of the log
  int64_t targets = 0;                               // their number
};

/// A run's checkpoints: its last state, and the parameters of the last `keep` checkpoints.
class Checkpoints {
 public:
  /// `data` is a fingerprint of the training data.
  Checkpoints(std::string folder, Companion companion, std::string data, const SettingList& settings, int64_t keep);

  /// What an optimizer remembers: its state_dict().
  using OptimizerState = std::map<std::string, difftensor::Tensor>;

  /// Replaces the last checkpoint. Whatever happens, the folder holds the one before or this one whole.
  void save(const TrainingState& state, const difftensor::nn::Module& model, const OptimizerState& optimizer) const;
  /// As save, and adds the parameters to those kept.
  void save_and_keep(const TrainingState& state, const difftensor::nn::Module& model,
                     const OptimizerState& optimizer) const;
  /// Takes over the last checkpoint, and forgets what was kept later. Throws, naming the file, if it is damaged, or
  /// belongs to another model, companion or data, or was made with settings that differ in more than --resume may
  /// change; no file has changed then. `notes` are lines to be told: what has changed.
  TrainingState load(difftensor::nn::Module& model, const std::function<void(const OptimizerState&)>& load_optimizer,
                     std::string& notes) const;
  /// The files of the parameters kept, oldest first.
  std::vector<std::string> kept() const;

 private:
  // All but the last `keep`.
  void remove_old() const;

  const std::string folder_;
  const Companion companion_;
  const std::string data_;
  const SettingList& settings_;
  const int64_t keep_;
};

}  // namespace training
