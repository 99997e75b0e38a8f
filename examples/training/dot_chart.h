#pragma once
#include <string>
#include <vector>

#include "examples/training/statistics.h"

namespace training {

/// A column of a dot chart.
struct DotPanel {
  std::string title;
  double low, high;  ///< of its scale, which is longer where a value lies outside
  std::vector<std::vector<double>>
      values;  ///< of each row; +infinity: a hollow dot beyond the right end, "never", and how often
  std::vector<Interval> intervals = {};  ///< of each row: the bar that is drawn, instead of one at the median
};

/// Every value a dot, and a bar at each row's median, or along its interval: rows (such as arms) down the page,
/// panels beside each other, as an SVG. Rows of softmax attention are blue, the others orange.
std::string dot_chart(const std::string& title, const std::vector<std::string>& rows,
                      const std::vector<DotPanel>& panels);

}  // namespace training
