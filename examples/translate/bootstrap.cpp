#include "examples/translate/bootstrap.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <numeric>

namespace translate {
namespace {

// numpy.random.default_rng(12345): the generator PCG64 (XSL-RR 128/64, O'Neill 2014), in the state to which numpy
// spreads that seed.
class Pcg64 {
 public:
  // Uniform in [0, bound), by Lemire's multiplication (arXiv 1805.10941), as numpy has it.
  uint32_t below(uint32_t bound) {
    uint64_t product = uint64_t{next32()} * bound;
    if (static_cast<uint32_t>(product) < bound)
      while (static_cast<uint32_t>(product) < -bound % bound) product = uint64_t{next32()} * bound;
    return static_cast<uint32_t>(product >> 32);
  }

 private:
  __extension__ using uint128 = unsigned __int128;
  static constexpr uint128 wide(uint64_t high, uint64_t low) { return uint128{high} << 64 | low; }

  // The low half of each 64 bits first, then the high half.
  uint32_t next32() {
    has_half_ = !has_half_;
    if (!has_half_) return half_;
    state_ = state_ * wide(0x2360ed051fc65da4, 0x4385df649fccf645) + wide(0xc9c7353e6e2b1f28, 0x7d761f2d4027fae7);
    const auto high = static_cast<uint64_t>(state_ >> 64), low = static_cast<uint64_t>(state_);
    const uint64_t bits = std::rotr(high ^ low, static_cast<int>(high >> 58));
    half_ = static_cast<uint32_t>(bits >> 32);
    return static_cast<uint32_t>(bits);
  }

  uint128 state_ = wide(0x1905e0335aae9634, 0x9199b0d09775add5);
  uint32_t half_ = 0;
  bool has_half_ = false;
};

}  // namespace

std::string Interval::format() const {
  if (mean <= 0) return "";
  char text[64];
  std::snprintf(text, sizeof text, " (μ = %.2f ± %.2f)", mean, half_width);
  return text;
}

Interval bootstrap(size_t segments, const std::function<double(const std::vector<uint32_t>&)>& score) {
  Pcg64 random;
  std::vector<uint32_t> draw(segments);
  std::vector<double> scores(1000);
  for (double& s : scores) {
    for (uint32_t& segment : draw) segment = random.below(static_cast<uint32_t>(segments));
    s = score(draw);
  }
  std::sort(scores.begin(), scores.end());
  const size_t left_out = scores.size() / 40;  // at each end
  return {std::accumulate(scores.begin(), scores.end(), 0.0) / static_cast<double>(scores.size()),
          (scores[scores.size() - 1 - left_out] - scores[left_out]) / 2};
}

}  // namespace translate
