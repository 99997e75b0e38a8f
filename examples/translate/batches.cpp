#include "examples/translate/batches.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace translate {
namespace {

template <class T>
void shuffle(std::vector<T>& items, difftensor::Random& random) {
  for (size_t n = items.size(); n > 1; --n) std::swap(items[n - 1], items[random.below(n)]);
}

void append(Batch& batch, const Example& example, size_t index) {
  const auto& [source, target] = example;
  batch.source.insert(batch.source.end(), source.begin(), source.end());
  batch.target_in.insert(batch.target_in.end(), target.begin(), target.end() - 1);
  batch.target_out.insert(batch.target_out.end(), target.begin() + 1, target.end());
  batch.source_lengths.push_back(static_cast<int64_t>(source.size()));
  batch.target_lengths.push_back(static_cast<int64_t>(target.size()) - 1);
  batch.tokens += batch.source_lengths.back() + batch.target_lengths.back();
  batch.examples.push_back(index);
}

// Tokens of both sides, with their EOS.
int64_t length_of(const Example& e) { return static_cast<int64_t>(e.source.size() + e.target.size()) - 1; }

}  // namespace

std::vector<Batch> sorted_batches(const std::vector<Example>& examples, int64_t budget) {
  std::vector<size_t> order(examples.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto lengths = [&](size_t i) { return std::pair(examples[i].source.size(), examples[i].target.size()); };
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return lengths(a) < lengths(b); });

  std::vector<Batch> batches;
  size_t width = 0;
  for (const size_t i : order) {
    const size_t longer = std::max(lengths(i).first, lengths(i).second);
    width = std::max(width, longer);
    if (batches.empty() || static_cast<int64_t>(width * (batches.back().examples.size() + 1)) > budget) {
      batches.emplace_back();
      width = longer;
    }
    append(batches.back(), examples[i], i);
  }
  return batches;
}

std::vector<Batch> shuffled_batches(const std::vector<Example>& examples, int64_t count, difftensor::Random& random) {
  std::vector<std::pair<difftensor::Scalar, size_t>> order;
  int64_t tokens = 0;
  for (size_t i = 0; i < examples.size(); ++i) {
    order.emplace_back(static_cast<difftensor::Scalar>(length_of(examples[i])) * (1 + random.uniform()), i);
    tokens += length_of(examples[i]);
  }
  std::sort(order.begin(), order.end());

  // Equal parts: a sentence belongs to the one in which its middle lies; but no part may stay empty.
  std::vector<Batch> batches(count);
  int64_t b = 0, before = 0;
  const int64_t sentences = static_cast<int64_t>(order.size());
  for (int64_t n = 0; n < sentences; ++n) {
    const size_t i = order[n].second;
    const int64_t length = length_of(examples[i]);
    const bool beyond = count * (2 * before + length) >= 2 * (b + 1) * tokens;
    const bool needed = sentences - n < count - b;
    if (!batches[b].examples.empty() && (beyond || needed)) ++b;
    append(batches[b], examples[i], i);
    before += length;
  }
  shuffle(batches, random);
  return batches;
}

}  // namespace translate
