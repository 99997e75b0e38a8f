#include "examples/translate/distractors.h"

#include "examples/text/files.h"

namespace translate {

using difftensor::Random;

namespace {
constexpr const char *opening = "⟦", *closing = "⟧";

void require_unmarked(const Pair& pair, size_t number) {
  for (const char* mark : {opening, closing})
    if (pair.source.find(mark) != std::string::npos)
      throw text::InputError(
          text::format("source %zu has %s in it, which marks what is to be translated", number + 1, mark));
}
}  // namespace

std::string marked(const std::string& source, const std::string& other, Place place) {
  std::string words = std::string(opening) + " " + source + " " + closing;
  if (place == Place::before) words = other + " " + words;
  if (place == Place::after) words += " " + other;
  return words;
}

std::vector<size_t> draw_others(const Sentences& sentences, Random& random) {
  const size_t n = sentences.size();
  std::vector<size_t> others;
  for (size_t i = 0; i < n; ++i) {
    size_t other = n > 1 ? (i + 1 + random.below(n - 1)) % n : i;
    for (size_t tries = 0; tries < n && sentences.are_same(i, other); ++tries) other = (other + 1) % n;
    if (sentences.are_same(i, other)) throw text::InputError("all sources are the same: there are no distractors");
    others.push_back(other);
  }
  return others;
}

Pairs with_distractors(const Pairs& pairs, double share, Random random) {
  const std::vector<size_t> others = draw_others(pairs.sources(), random);
  Pairs result;
  for (size_t i = 0; i < pairs.size(); ++i) {
    Pair pair = pairs[i];
    require_unmarked(pair, i);
    const bool beside = static_cast<double>(random.uniform()) < share;
    const Place place = !beside ? Place::nowhere : random.below(2) == 0 ? Place::before : Place::after;
    pair.source = marked(pair.source, pairs.sources().text(others[i]), place);
    result.add(pair);
  }
  return result;
}

std::vector<std::string> test_sources(const Pairs& pairs, Place place) {
  Random random(0, 2);
  const std::vector<size_t> others = draw_others(pairs.sources(), random);
  std::vector<std::string> sources;
  for (size_t i = 0; i < pairs.size(); ++i) {
    require_unmarked(pairs[i], i);
    sources.push_back(marked(pairs.sources().text(i), pairs.sources().text(others[i]), place));
  }
  return sources;
}

}  // namespace translate
