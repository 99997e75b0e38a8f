#include "examples/translate/batches.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace translate {
namespace {

void append(Batch& batch, const Example& example, uint32_t index) {
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

Batch make_batch(const Examples& examples, const Selection& selection) {
  Batch batch;
  for (const uint32_t i : selection) append(batch, examples[i], i);
  return batch;
}

std::vector<Selection> sorted_batches(const Examples& examples, int64_t budget) {
  Selection order(examples.size());
  std::iota(order.begin(), order.end(), 0u);
  const auto lengths = [&](uint32_t i) { return std::pair(examples[i].source.size(), examples[i].target.size()); };
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return lengths(a) < lengths(b); });

  std::vector<Selection> batches;
  size_t width = 0;
  for (const uint32_t i : order) {
    const size_t longer = std::max(lengths(i).first, lengths(i).second);
    width = std::max(width, longer);
    if (batches.empty() || static_cast<int64_t>(width * (batches.back().size() + 1)) > budget) {
      batches.emplace_back();
      width = longer;
    }
    batches.back().push_back(i);
  }
  return batches;
}

std::vector<Selection> shuffled_batches(const Examples& examples, int64_t count, difftensor::Random& random) {
  std::vector<std::pair<difftensor::Scalar, uint32_t>> order;
  order.reserve(examples.size());
  int64_t tokens = 0;
  for (uint32_t i = 0; i < examples.size(); ++i) {
    order.emplace_back(static_cast<difftensor::Scalar>(length_of(examples[i])) * (1 + random.uniform()), i);
    tokens += length_of(examples[i]);
  }
  std::sort(order.begin(), order.end());

  // Equal parts: a sentence belongs to the one in which its middle lies; but no part may stay empty.
  std::vector<Selection> batches(count);
  int64_t b = 0, before = 0;
  const int64_t sentences = static_cast<int64_t>(order.size());
  for (int64_t n = 0; n < sentences; ++n) {
    const uint32_t i = order[n].second;
    const int64_t length = length_of(examples[i]);
    const bool beyond = count * (2 * before + length) >= 2 * (b + 1) * tokens;
    const bool needed = sentences - n < count - b;
    if (!batches[b].empty() && (beyond || needed)) ++b;
    batches[b].push_back(i);
    before += length;
  }
  shuffle(batches, random);
  return batches;
}

}  // namespace translate
