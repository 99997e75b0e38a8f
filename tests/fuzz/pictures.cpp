// Pictures whose labels are any bytes: the parts of the input between bytes 0xFF.
#include "examples/text/unicode.h"
#include "examples/training/attention_chart.h"
#include "examples/training/charts.h"
#include "tests/fuzz/fuzz.h"

namespace fuzz {

const Memory memory{64 << 10, 3000};

void fuzz(std::string_view input) {
  const std::vector<std::string> labels = parts(input, 5);
  training::AttentionFigure figure;
  figure.title = labels[0];
  figure.queries = {labels[1], labels[2]}, figure.keys = {labels[2], labels[3]};
  figure.a1 = {0.5f, 0.5f, 1, 0}, figure.a2 = {1, 0, 0, 1}, figure.difference = {0.25f, 0.5f, 1, -0.25f};
  check_svg(training::attention_chart(figure));
  const std::vector<training::Point> points{{1, 3.5}, {2, 2.5}};
  check_svg(training::comparison_chart({{labels[0], points}, {labels[1], points}}));
  training::TrainingHistory history;
  history.valid_loss = points;
  history.figures = {{labels[2], points}}, history.lambda = {{labels[3], points}, {labels[4], points}};
  check_svg(training::training_chart(labels[1], history));
}

}  // namespace fuzz
