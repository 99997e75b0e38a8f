#pragma once
// Pictures of a training run, as SVG text: no library, no script, one file each.
#include <string>
#include <vector>

namespace translate {

struct Point {
  double x, y;
};

/// The loss over updates: every training loss (drawn faintly, and smoothed) and the validation losses. Values that
/// are not finite are left out.
std::string loss_chart(const std::string& title, const std::vector<Point>& train, const std::vector<Point>& valid);

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
