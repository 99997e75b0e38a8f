#include "examples/training/dot_chart.h"

#include <algorithm>
#include <cmath>

#include "examples/training/statistics.h"
#include "examples/training/svg.h"

namespace training {

namespace {
// The panel's, and as many quarters of that more as its values need.
Interval scale_of(const DotPanel& panel) {
  const double quarter = (panel.high - panel.low) / 4;
  double below = 0, above = 0;
  for (const std::vector<double>& row : panel.values)
    for (const double x : row) {
      if (!std::isfinite(x)) continue;
      below = std::max(below, std::ceil((panel.low - x) / quarter));
      above = std::max(above, std::ceil((x - panel.high) / quarter));
    }
  return {panel.low - below * quarter, panel.high + above * quarter};
}
}  // namespace

std::string dot_chart(const std::string& title, const std::vector<std::string>& rows,
                      const std::vector<DotPanel>& panels) {
  constexpr double panel_width = 190, gap = 34, row_height = 24, top = 74;
  double left = 150;
  for (const std::string& row : rows) left = std::max(left, text_width(row, 12) + 24);
  const double bottom = top + row_height * static_cast<double>(rows.size());
  const double width = left + static_cast<double>(panels.size()) * (panel_width + gap);
  Svg svg(std::max(width, text_width(title, 16) + 40), bottom + 40);
  svg.text(20, 30, 16, ink, title, bold);
  const auto colour = [&](size_t row) { return rows[row].starts_with("softmax") ? blue : orange; };
  const auto height = [&](size_t row) { return top + row_height * (static_cast<double>(row) + 0.5); };
  for (size_t row = 0; row < rows.size(); ++row)
    svg.text(left - 14, height(row) + 4, 12, colour(row), rows[row], right);

  for (size_t p = 0; p < panels.size(); ++p) {
    const DotPanel& panel = panels[p];
    const double x0 = left + static_cast<double>(p) * (panel_width + gap);
    const Interval scale = scale_of(panel);
    const auto place = [&](double value) {
      return x0 + panel_width * (std::isinf(value) ? 1.05 : (value - scale.low) / (scale.high - scale.low));
    };
    svg.text(x0 + panel_width / 2, 58, 12, ink, panel.title, centred);
    for (int tick = 0; tick <= 4; ++tick) {
      const double value = scale.low + (scale.high - scale.low) * tick / 4;
      svg.line({{place(value), top}, {place(value), bottom}}, grid, 1);
      if (tick % 2 == 0) svg.text(place(value), bottom + 18, 11, muted, format("%.4g", value), centred);
    }
    if (scale.low < 0 && scale.high > 0) svg.line({{place(0), top}, {place(0), bottom}}, muted, 1);
    for (size_t row = 0; row < rows.size(); ++row) {
      const std::vector<double>& values = panel.values.at(row);
      for (const double value : values) svg.dot({place(value), height(row)}, colour(row));
      const auto never = std::count_if(values.begin(), values.end(), [](double x) { return std::isinf(x); });
      if (never > 0) svg.dot({place(INFINITY), height(row)}, "#ffffff", 2.2);
      if (never > 1) svg.text(place(INFINITY) + 6, height(row) + 4, 11, muted, format("%ld", never));
      if (values.size() < 2) continue;
      if (!panel.intervals.empty()) {
        const auto& [low, high] = panel.intervals.at(row);
        svg.line({{place(low), height(row)}, {place(high), height(row)}}, ink, 2);
        for (const double end : {low, high})
          svg.line({{place(end), height(row) - 5}, {place(end), height(row) + 5}}, ink, 2);
        continue;
      }
      const double middle = place(median(values));
      svg.line({{middle, height(row) - 8}, {middle, height(row) + 8}}, ink, 2);
    }
  }
  return svg.finish();
}

}  // namespace training
