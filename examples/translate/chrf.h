#pragma once
// Corpus chrF2 (Popović 2015): how many runs of 1 to 6 characters two texts share, whitespace left out; number for
// number as sacreBLEU computes it. It needs no tokenizer, and gives credit for the right stem with the wrong ending.
#include <string>
#include <vector>

#include "examples/translate/bootstrap.h"

namespace translate {

struct ChrfOptions {
  bool lowercase = false;   ///< case:lc rather than case:mixed
  bool confidence = false;  ///< also the interval
};

struct Chrf {
  double score = 0;  ///< 0 to 100
  Interval interval;
  ChrfOptions options;

  /// sacreBLEU's line: "chrF2|nrefs:1|bs:1000|seed:12345|case:mixed|eff:yes|nc:6|nw:0|space:no|... = 59.73 (μ = ...)".
  std::string format() const;
};

/// One reference for each hypothesis. With P and R the precision and recall of n-grams, averaged over the orders n of
/// which both texts have some: 100 * 5 P R / (4 P + R). Throws std::invalid_argument if their numbers differ.
Chrf corpus_chrf(const std::vector<std::string>& hypotheses, const std::vector<std::string>& references,
                 const ChrfOptions& options = {});

}  // namespace translate
