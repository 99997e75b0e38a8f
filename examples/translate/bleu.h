#pragma once
// Corpus BLEU (Papineni et al. 2002), number for number as sacreBLEU computes it (Post 2018, arXiv 1804.08771).
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "examples/translate/bootstrap.h"

namespace translate {

struct BleuOptions {
  bool lowercase = false;   ///< case:lc rather than case:mixed, character by character
  bool tokenize = true;     ///< tok:13a, for plain text; otherwise tok:none, for text with spaces between its tokens
  bool confidence = false;  ///< also the interval
};

struct Bleu {
  double score = 0;  ///< 0 to 100
  /// Of 1-grams to 4-grams, in per cent. One without a match is smoothed (smooth:exp).
  std::array<double, 4> precisions{};
  double brevity_penalty = 1;
  int64_t sys_len = 0, ref_len = 0;  ///< in tokens
  Interval interval;
  BleuOptions options;

  /// sacreBLEU's line: "BLEU|nrefs:1|bs:1000|seed:12345|case:mixed|... = 41.47 (μ = 41.41 ± 1.83) 72.1/48.0/34.4/25.0
  /// (BP = 1.000 ratio = ...)".
  std::string format() const;
};

/// Has the text the four tokens in a row that BLEU compares? Where no reference has, it is 0 whatever was translated.
bool has_4gram(const std::string& text, const BleuOptions& options = {});

/// One reference for each hypothesis. Throws std::invalid_argument if their numbers differ.
Bleu corpus_bleu(const std::vector<std::string>& hypotheses, const std::vector<std::string>& references,
                 const BleuOptions& options = {});

}  // namespace translate
