#pragma once
// Pictures of a training run, as SVG text: no library, no script, one file each.
#include <string>
#include <vector>

#include "examples/training/svg.h"

namespace training {

struct Series {
  std::string label;
  std::vector<Point> points;
};

/// What a training leaves behind, over its updates.
struct TrainingHistory {
  std::vector<Point> train_loss, valid_loss;  ///< per target token, not smoothed
  std::vector<Point> learning_rate, gradient_norm, tokens_per_second;
  std::vector<Series> figures;  ///< of the validations, under their columns: "bleu"
  std::vector<Series> lambda;   ///< of each attention, under a name such as "decoder.layers.0.cross_attn"
};

/// Four panels over the updates: loss; learning rate; figures of the validation; lambda of each attention, or, for softmax
/// attention, the gradient norm. Losses that span orders of magnitude have a logarithmic scale. Values that are not
/// finite are left out.
std::string training_chart(const std::string& title, const TrainingHistory& history);

enum class Ordinate { from_zero, free, loss };  ///< loss: logarithmic if the values span a factor of 30

/// A curve for each of several runs over its updates, labelled with its name and its last value, as `pattern` has it. By
/// default these are validation losses.
std::string comparison_chart(const std::vector<Series>& runs,
                             const std::string& title = "validation loss per target token",
                             Ordinate ordinate = Ordinate::loss, const char* pattern = "%#.3g");

/// The loss of several models, each labelled with its name and its last value, over the position in the context, from 1
/// on, in octaves.
std::string position_chart(const std::vector<Series>& models, const std::string& title = "loss by position",
                           const char* pattern = "%#.3g");

}  // namespace training
