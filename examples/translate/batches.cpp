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

}  // namespace

std::vector<Batch> make_batches(const std::vector<Example>& examples, int64_t budget, difftensor::Random* random) {
  std::vector<size_t> order(examples.size());
  std::iota(order.begin(), order.end(), size_t{0});
  // The sort is stable, so what was shuffled stays so among examples of the same lengths.
  if (random) shuffle(order, *random);
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
  if (random) shuffle(batches, *random);
  return batches;
}

}  // namespace translate
