#pragma once
// What a training tells: lines on stdout, train_log.csv, lambda.csv and loss.svg.
#include <optional>

#include "examples/training/checkpoint.h"
#include "examples/training/csv_log.h"
#include "examples/training/task.h"

namespace training {

/// Seconds on a clock that is never set back.
double now();

/// As printf, at once; on rank 0 alone. Throws std::runtime_error if stdout cannot be written to.
__attribute__((format(printf, 1, 2))) void say(const char* format, ...);
/// The same with a text as it is, which may have a NUL in it.
void say_text(std::string_view text);

/// A training's reports. Rank 0 alone makes them.
class Report {
 public:
  /// Goes on with the files of a run that has made so many updates, or begins them.
  Report(const Task& task, const std::string& folder, int64_t update);

  /// The updates since the last such line: `state` has the sums of their losses.
  void training(int64_t epoch, const TrainingState& state, double tokens_per_second, double lr, double gradient_norm);
  /// A validation, after update number `update`.
  void validation(int64_t epoch, int64_t update, const Validation& v);
  /// All that was told is on disk then.
  void sync();
  /// Ends the files.
  void close();
  /// "loss 0.0047  perplexity 1.005  BLEU 34.17"
  static std::string summary(const Validation& v);
  /// Seconds of training so far, those of earlier sessions included.
  double seconds() const;

 private:
  const Task& task_;
  const std::string folder_;
  std::optional<CsvLog> log_;         // on rank 0
  std::optional<CsvLog> lambda_log_;  // if there is a differential attention
  double start_;                      // when training would have begun without interruptions
};

}  // namespace training
