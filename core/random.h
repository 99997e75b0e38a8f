#pragma once
// Seeded random numbers that are a pure function of (seed, stream, index).
#include <cmath>
#include <utility>

#include "core/base.h"

namespace difftensor::inline DT_PRECISION {

/// A counter-based generator: number i of a stream is mix(key + i * golden), which is SplitMix64
/// (Steele, Lea, Flood 2014) with random access. So a loop may be cut among threads in any way and
/// still draw the same bits, and a run resumes from (seed, stream) with no state to save.
class Random {
 public:
  explicit Random(uint64_t seed = 0, uint64_t stream = 0)
      : key_(stream == 0 ? seed : mix(seed + mix(stream * golden))) {}

  /// 64 random bits: element `i` from here on, not moving on. (`i` = 0 is what bits() would give.)
  uint64_t bits_at(uint64_t i) const { return mix(key_ + (counter_ + i + 1) * golden); }
  uint64_t bits() { return mix(key_ + ++counter_ * golden); }
  /// Moves on by `count` elements.
  void skip(uint64_t count) { counter_ += count; }

  /// Uniform on [0, 1), with as many random bits as a Scalar holds.
  Scalar uniform() { return to_uniform(bits()); }
  static Scalar to_uniform(uint64_t bits) {
    constexpr int digits = sizeof(Scalar) == 4 ? 24 : 53;
    return static_cast<Scalar>(bits >> (64 - digits)) / static_cast<Scalar>(uint64_t{1} << digits);
  }
  /// The same in double, in either precision: a float has too few digits for the rarest of many choices.
  double uniform_double() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
  /// Uniform on {0, ..., n - 1}, 0 < n < 2^32. (The bias of at most n / 2^32 does not matter here.)
  uint64_t below(uint64_t n) { return (bits() >> 32) * n >> 32; }
  /// Standard normal, by the Box-Muller transform of two uniforms in double.
  Scalar normal() {
    double u = static_cast<double>((bits() >> 11) + 1) * 0x1p-53, v = uniform_double();
    return static_cast<Scalar>(std::sqrt(-2 * std::log(u)) * std::cos(2 * 3.14159265358979323846 * v));
  }

 private:
  static constexpr uint64_t golden = 0x9E3779B97F4A7C15;
  static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }
  uint64_t key_, counter_ = 0;
};

/// Puts the elements into random order, each order as likely as any other (Fisher, Yates 1938).
template <class Elements>
void shuffle(Elements& elements, Random& random) {
  for (size_t left = elements.size(); left > 1; --left) std::swap(elements[left - 1], elements[random.below(left)]);
}

/// The generator that dropout draws from, in core/tensor.cpp: one per thread, so that a thread with its own graph has its
/// own.
Random& default_random();

/// Restarts this thread's default generator. A training loop calls it with stream = update number, so that
/// each update's dropout is fixed whatever happened before it.
void manual_seed(uint64_t seed, uint64_t stream = 0);

}  // namespace difftensor::inline DT_PRECISION
