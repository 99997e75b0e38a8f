// What ranks do together, whatever carries it.
#include "examples/training/ranks.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace training {

void require_same(const std::string& what, std::string_view own) {
  const std::vector<std::string> all = all_gather(own);
  for (size_t i = 0; i < all.size(); ++i)
    if (all[i] != all[0]) throw std::runtime_error("rank " + std::to_string(i) + " has " + what + " than rank 0");
}

std::vector<double> share_sum(int64_t n, const std::function<std::vector<double>(int64_t)>& f) {
  std::string own;
  for (int64_t i = n * rank() / ranks(); i < n * (rank() + 1) / ranks(); ++i) {
    const std::vector<double> values = f(i);
    const size_t width = values.size();
    own.append(reinterpret_cast<const char*>(&width), sizeof width);
    own.append(reinterpret_cast<const char*>(values.data()), width * sizeof(double));
  }
  std::vector<double> sum;
  for (const std::string& values : all_gather(own))
    for (size_t at = 0, width = 0; at < values.size(); at += width * sizeof(double)) {
      std::memcpy(&width, values.data() + at, sizeof width);
      at += sizeof width;
      sum.resize(std::max(sum.size(), width));
      for (size_t k = 0; k < width; ++k) {
        double value;
        std::memcpy(&value, values.data() + at + k * sizeof value, sizeof value);
        sum[k] += value;
      }
    }
  return sum;
}

}  // namespace training
