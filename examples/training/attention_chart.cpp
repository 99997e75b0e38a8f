#include "examples/training/attention_chart.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <stdexcept>

#include "examples/training/svg.h"

namespace training {
namespace {

using Colour = std::array<double, 3>;
const std::vector<Colour> sequential = {
    {246, 248, 251}, {201, 221, 240}, {113, 168, 216}, {43, 108, 180}, {12, 52, 106}};
const std::vector<Colour> diverging = {{158, 61, 8},    {226, 120, 48}, {249, 196, 150}, {246, 248, 251},
                                       {160, 200, 232}, {52, 118, 188}, {12, 52, 106}};

// The colour at `at` in [0, 1] between the ramp's; what is not a number is at 0.
std::string colour_at(const std::vector<Colour>& ramp, double at) {
  const double place = (at > 0 ? std::min(at, 1.0) : 0) * (ramp.size() - 1);
  const size_t i = std::min(static_cast<size_t>(place), ramp.size() - 2);
  const auto mix = [&](int c) { return std::lround(ramp[i][c] + (place - i) * (ramp[i + 1][c] - ramp[i][c])); };
  char text[64];
  std::snprintf(text, sizeof text, "#%02lx%02lx%02lx", mix(0), mix(1), mix(2));
  return text;
}

// The largest magnitude.
double largest(const std::vector<float>& values) {
  double most = 1e-6;  // a map of zeros has a scale, too
  for (const float v : values)
    if (std::isfinite(v)) most = std::max(most, std::abs(static_cast<double>(v)));
  return most;
}

// A token as a label: SentencePiece's "▁" for a space is a heavy block in most fonts.
std::string label_of(const std::string& piece) { return piece.starts_with("▁") ? "·" + piece.substr(3) : piece; }

// Of the widest label.
double label_width(const std::vector<std::string>& labels, double size) {
  double most = 0;
  for (const std::string& label : labels) most = std::max(most, text_width(label, size));
  return most;
}

}  // namespace

std::string attention_chart(const AttentionFigure& figure) {
  const size_t rows = figure.queries.size(), columns = figure.keys.size();
  for (const auto* map : {&figure.a1, &figure.a2, &figure.difference})
    if (rows * columns == 0 || map->size() != rows * columns)
      throw std::invalid_argument("attention_chart: a map of " + std::to_string(map->size()) + " elements for " +
                                  std::to_string(rows) + " queries and " + std::to_string(columns) + " keys");

  // Long sentences get smaller cells; their labels shrink with them.
  const double cell = std::clamp(std::floor(420.0 / std::max(rows, columns)), 10.0, 26.0);
  const int label = static_cast<int>(std::clamp(cell * 0.75, 8.0, 12.0));
  // Column labels lean 60 degrees to the right, so the last one leans out of its panel.
  const double lean = label_width(figure.keys, label), map_width = cell * columns, map_height = cell * rows;
  const double left = 32 + label_width(figure.queries, label), top = 108 + 0.87 * lean, scale_width = 144;
  const double pitch = std::max(map_width, scale_width) + std::max(32.0, 0.5 * lean);  // from panel to panel
  const double width = std::max(left + 3 * pitch, 48 + label_width({figure.title}, 17));
  const double attention_scale = std::max(largest(figure.a1), largest(figure.a2));
  const double difference_scale = largest(figure.difference);

  Svg svg(width, top + map_height + 62);
  svg.text(24, 34, 16, ink, figure.title, bold);
  svg.text(24, 56, 12, muted, "each row attends to the columns; λ = " + format("%.3f", figure.lambda));

  const auto panel = [&](int index, const std::string& name, const std::vector<float>& map, double low, double high,
                         const std::vector<Colour>& ramp) {
    const double x = left + index * pitch;
    const auto colour = [&](double value) { return colour_at(ramp, (value - low) / (high - low)); };
    svg.text(x, 88, 14, ink, name, bold);
    for (size_t j = 0; j < columns; ++j) {
      const double at = x + (j + 0.5) * cell + 0.3 * label;
      svg.text(at, top - 6, label, ink, label_of(figure.keys[j]),
               "transform=\"rotate(-60 " + format("%.1f", at) + format(" %.1f)\"", top - 6));
    }
    svg.rect(x, top, map_width, map_height, grid);
    for (size_t i = 0; i < rows; ++i) {
      if (index == 0)
        svg.text(x - 8, top + (i + 0.5) * cell + 0.36 * label, label, ink, label_of(figure.queries[i]), right);
      for (size_t j = 0; j < columns; ++j)
        svg.rect(x + j * cell + 0.5, top + i * cell + 0.5, cell - 1, cell - 1, colour(map[i * columns + j]));
    }
    // The scale, in the cells' own colours.
    constexpr int bars = 48;
    const double bar = scale_width / bars, below = top + map_height + 16;
    for (int b = 0; b < bars; ++b)
      svg.rect(x + b * bar, below, bar + 0.3, 8, colour(low + (high - low) * b / (bars - 1)),
               "shape-rendering=\"crispEdges\"");
    svg.text(x, below + 23, 11, muted, format(low < 0 ? "−%.2f" : "%.0f", std::abs(low)));
    if (low < 0) svg.text(x + scale_width / 2, below + 23, 11, muted, "0", centred);
    svg.text(x + scale_width, below + 23, 11, muted, format("%.2f", high), right);
  };
  panel(0, "A₁", figure.a1, 0, attention_scale, sequential);
  panel(1, "A₂", figure.a2, 0, attention_scale, sequential);
  panel(2, "A₁ − λ A₂", figure.difference, -difference_scale, difference_scale, diverging);
  return svg.finish();
}

}  // namespace training
