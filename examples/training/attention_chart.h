#pragma once
// What a head of differential attention sees, drawn.
#include <string>
#include <vector>

namespace training {

/// What a head of differential attention sees in one sentence: maps of (queries, keys), row by row.
struct AttentionFigure {
  std::string title;                       ///< such as "encoder layer 2, head 1"
  std::vector<std::string> queries, keys;  ///< the tokens: labels of the rows and the columns
  std::vector<float> a1, a2, difference;   ///< A1, A2 and A1 - lambda A2
  float lambda = 0;
};

/// The three maps side by side. Throws std::invalid_argument if one has not queries x keys elements.
std::string attention_chart(const AttentionFigure& figure);

}  // namespace training
