#pragma once
// What a program asks the training loop (loop.h) to train. The loop knows no task: it asks one for its updates, the loss
// of their pieces and a validation, and does the rest once, for every program.
#include <algorithm>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "examples/training/ranks.h"
#include "examples/training/run_folder.h"
#include "nn/module.h"

namespace training {

/// An update's pieces are shared out among threads in so many parts, if there are so many. Fixed, so that sums of
/// gradients do not depend on the number of threads; few, because the gradients of each part are written, read and added.
constexpr int64_t update_parts = 32;

/// Streams of random numbers for what is drawn during a training. (Stream 0 draws a task's data, and the weights.)
inline uint64_t shuffle_stream(int64_t epoch) { return uint64_t{1} << 32 | static_cast<uint64_t>(epoch); }
inline uint64_t dropout_stream(int64_t update, int64_t piece) {
  return static_cast<uint64_t>(2 + piece) << 32 | static_cast<uint64_t>(update);
}

/// The work of one update.
struct Update {
  int64_t pieces = 0;   ///< each gets a graph of its own; their gradients add up to the update's
  int64_t targets = 0;  ///< tokens to predict: the update's loss is their mean
  int64_t tokens = 0;   ///< all that are read, for tokens/s
};

/// What a piece adds to the update's loss.
struct PieceLoss {
  difftensor::Tensor loss;  ///< a scalar: the sum over the piece's targets, divided by all targets of the update
  double nll = 0;           ///< the same sum without label smoothing, not divided
};

/// A figure of a validation. More is better.
struct Figure {
  std::string key;  ///< a column of train_log.csv, and a word for --best-by
  double value = 0;
  int decimals = 2;       ///< that are shown
  const char* unit = "";  ///< "%" or none
};
/// How a figure is named where people read it: "bleu" is BLEU.
std::string figure_name(const std::string& key);

/// What Task::validate() found.
struct Validation {
  double loss = 0;              ///< the mean over all targets, without smoothing or dropout
  std::vector<Figure> figures;  ///< those of Task::figures(), in their order
  std::vector<double> lambdas;  ///< of each differential attention, in the order of Task::lambda_names()
  std::string samples;          ///< lines to show beneath
};

/// What a training loop is to train, and how it learns what came of it.
class Task {
 public:
  virtual ~Task() = default;

  virtual difftensor::nn::Module& model() = 0;
  /// What its parameters belong to.
  virtual Companion companion() const = 0;
  /// Changes with any of the data, so that nobody goes on with others.
  virtual std::string data_fingerprint() const = 0;
  /// Lines that say what is trained, and on what; printed first.
  virtual std::string summary() const = 0;
  /// "diff attention, llama style, 809600 parameters", above the picture of the training.
  virtual std::string title() const = 0;
  /// The loss of a model that has learned nothing.
  virtual double guessing_loss() const = 0;

  /// Leaves in the folder of a new run what its model cannot be used without, such as the vocabulary.
  virtual void write_files(const std::string& folder) const { (void)folder; }

  /// How many updates make an epoch.
  virtual int64_t updates_per_epoch() const = 0;
  /// Prepares update number `update`, counted from 1. It depends on this number, not on the past.
  virtual Update begin_update(int64_t update) = 0;
  /// The loss of one piece of it. Called from several threads at once, in training mode; default_random() is seeded for
  /// the piece.
  virtual PieceLoss piece_loss(int64_t piece) = 0;

  /// The figures that validate() will return, their values 0.
  virtual std::vector<Figure> figures() const { return {}; }
  /// The names of Validation::lambdas.
  virtual std::vector<std::string> lambda_names() const { return {}; }
  /// Every rank calls it (ranks.h), and gets the same.
  virtual Validation validate() = 0;
  /// On rank 0 alone: leaves pictures of the trained model in the run folder.
  virtual void draw(const std::string& folder) { (void)folder; }
};

}  // namespace training
