#include "examples/training/statistics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/random.h"

namespace training {

using difftensor::require;

namespace {

// The 97.5% quantile of Student's t for 1, 2, ... 30 degrees of freedom; beyond, that of the normal distribution with
// two terms of its expansion (Abramowitz, Stegun 1964, 26.7.5), which is right to 0.0002 there.
double t_quantile(size_t freedom) {
  constexpr std::array table{12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
                             2.2010,  2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
                             2.0796,  2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423};
  if (freedom <= table.size()) return table[freedom - 1];
  const double z = 1.959964, n = static_cast<double>(freedom);
  return z + (z * z * z + z) / (4 * n) + (5 * std::pow(z, 5) + 16 * z * z * z + 3 * z) / (96 * n * n);
}

double log_choose(int64_t n, int64_t k) {
  const auto log_factorial = [](int64_t x) { return std::lgamma(static_cast<double>(x) + 1); };
  return log_factorial(n) - log_factorial(k) - log_factorial(n - k);
}

}  // namespace

MeanInterval student_interval(const std::vector<double>& values) {
  require(!values.empty(), "student_interval", "no values");
  const auto n = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  if (values.size() == 1) return {mean, std::numeric_limits<double>::infinity()};
  double squares = 0;
  for (const double x : values) squares += (x - mean) * (x - mean);
  return {mean, t_quantile(values.size() - 1) * std::sqrt(squares / (n - 1) / n)};
}

Interval bootstrap_interval(const std::vector<double>& values) {
  require(!values.empty(), "bootstrap_interval", "no values");
  difftensor::Random random(1);
  std::vector<double> means(10'000);
  for (double& mean : means) {
    for (size_t i = 0; i < values.size(); ++i) mean += values[random.below(values.size())];
    mean /= static_cast<double>(values.size());
  }
  std::sort(means.begin(), means.end());
  const size_t left_out = means.size() / 40;  // at each end
  return {means[left_out], means[means.size() - 1 - left_out]};
}

double median(std::vector<double> values) {
  require(!values.empty(), "median", "no values");
  std::sort(values.begin(), values.end());
  return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

double fisher_exact(int64_t a, int64_t n, int64_t b, int64_t m) {
  require(0 <= a && a <= n && 0 <= b && b <= m, "fisher_exact", a, " of ", n, " and ", b, " of ", m);
  double p = 0;
  for (int64_t k = a; k <= std::min(n, a + b); ++k)
    if (a + b - k <= m) p += std::exp(log_choose(n, k) + log_choose(m, a + b - k) - log_choose(n + m, a + b));
  return std::min(p, 1.0);
}

}  // namespace training
