#pragma once
// Pictures of a training run, as SVG text: no library, no script, one file each.
#include <string>
#include <vector>

namespace translate {

struct Point {
  double x, y;
};

struct Series {
  std::string label;
  std::vector<Point> points;
};

/// What a training leaves behind, over its updates.
struct TrainingHistory {
  std::vector<Point> train_loss, valid_loss;  ///< per target token, not smoothed
  std::vector<Point> learning_rate, gradient_norm, tokens_per_second;
  std::vector<Point> bleu, exact;  ///< of the validations, in per cent
  std::vector<Series> lambda;      ///< of each attention, under a name such as "decoder.layers.0.cross_attn"
};

/// Four panels over the updates: loss; learning rate; BLEU and exact matches; lambda of each attention, or, for softmax
/// attention, the gradient norm. Losses that span orders of magnitude have a logarithmic scale. Values that are not
/// finite are left out.
std::string training_chart(const std::string& title, const TrainingHistory& history);

/// The validation losses of several runs, each labelled with its name.
std::string comparison_chart(const std::vector<Series>& runs);

/// What a head of differential attention sees in one sentence: maps of (queries, keys), row by row.
struct AttentionFigure {
  std::string title;                       ///< such as "encoder layer 2, head 1"
  std::vector<std::string> queries, keys;  ///< the tokens: labels of the rows and the columns
  std::vector<float> a1, a2, difference;   ///< A1, A2 and A1 - lambda A2
  float lambda = 0;
};

/// The three maps side by side. Throws std::invalid_argument if one has not queries x keys elements.
std::string attention_chart(const AttentionFigure& figure);

}  // namespace translate
