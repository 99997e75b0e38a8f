#pragma once
// How sure a comparison of a few trainings is.
#include <cstdint>
#include <vector>

namespace training {

/// A mean, and half the width of its 95% interval.
struct MeanInterval {
  double mean = 0, half_width = 0;
};
/// Student's: mean +- t s / sqrt(n), with t for n - 1 degrees of freedom and s the sample's standard deviation. Of a
/// single value the half width is infinite. Throws std::invalid_argument without any.
MeanInterval student_interval(const std::vector<double>& values);

/// The ends of an interval.
struct Interval {
  double low = 0, high = 0;
};
/// The 95% interval of a mean by the percentile bootstrap: draws as many values as there are, with replacement, 10,000
/// times, and takes the two means beyond which 2.5% lie at either end. It assumes no distribution, but of few values is
/// too narrow: n values vary less by sqrt(1 - 1/n) than what they were drawn from. The draws are the same each time.
/// Throws std::invalid_argument without any value.
Interval bootstrap_interval(const std::vector<double>& values);

/// The middle value, or the mean of the two in the middle; +infinity stands for "never", and a median may be that.
/// Throws std::invalid_argument without any value.
double median(std::vector<double> values);

/// Fisher's exact test, one-sided: if of n + m trials, a + b in all succeed, and chance alone says which, how likely is it
/// that a or more of them are among the first n? Throws std::invalid_argument unless 0 <= a <= n and 0 <= b <= m.
double fisher_exact(int64_t a, int64_t n, int64_t b, int64_t m);

}  // namespace training
