#pragma once
// How sure a score is, by resampling the test set (Koehn 2004, "Statistical significance tests for machine
// translation evaluation").
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace translate {

/// The mean of a score over resamples, and half the width of the interval that holds 95% of them.
struct Interval {
  double mean = 0, half_width = 0;

  /// " (μ = 41.41 ± 1.83)"; nothing if the mean is 0, as sacreBLEU has it.
  std::string format() const;
};

/// What a signature says of it: "bs:1000|seed:12345|", or nothing without.
inline std::string bootstrap_signature(bool confidence) { return confidence ? "bs:1000|seed:12345|" : ""; }

/// Draws `segments` of as many segments, with replacement, 1,000 times. `score` takes such a draw. The draws are those
/// of `sacrebleu --confidence`, so that a signature with bs:1000 and seed:12345 stands for the same numbers here.
Interval bootstrap(size_t segments, const std::function<double(const std::vector<uint32_t>&)>& score);

}  // namespace translate
