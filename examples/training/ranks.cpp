// What ranks do together, whatever carries it.
#include "examples/training/ranks.h"

#include <algorithm>
#include <stdexcept>

namespace training {

void require_same(const std::string& what, std::string_view own) {
  const std::vector<std::string> all = all_gather(own);
  for (size_t i = 0; i < all.size(); ++i)
    if (all[i] != all[0]) throw std::runtime_error("rank " + std::to_string(i) + " has " + what + " than rank 0");
}

std::vector<double> all_gather(const std::vector<double>& own) {
  std::vector<double> all;
  for (const std::string& bytes :
       all_gather(std::string_view(reinterpret_cast<const char*>(own.data()), own.size() * sizeof(double)))) {
    const size_t before = all.size();
    all.resize(before + bytes.size() / sizeof(double));
    std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(all.data() + before));
  }
  return all;
}

std::vector<double> share_sum(int64_t n, const std::function<std::vector<double>(int64_t)>& f) {
  std::vector<double> own;
  const auto [begin, end] = share(n, rank(), ranks());
  for (int64_t i = begin; i < end; ++i) {
    const std::vector<double> values = f(i);
    own.insert(own.end(), values.begin(), values.end());
  }
  const std::vector<double> all = all_gather(own);
  std::vector<double> sum(n > 0 ? all.size() / static_cast<size_t>(n) : 0);
  for (size_t k = 0; k < all.size(); ++k) sum[k % sum.size()] += all[k];
  return sum;
}

}  // namespace training
