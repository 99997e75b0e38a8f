// Distractors in translation: the marked sentence is whole, its neighbour is another one, and both places have the
// same.
#include <map>
#include <set>

#include "examples/translate/corpus_progress.h"
#include "examples/translate/data.h"
#include "examples/translate/distractors.h"
#include "tests/example_files.h"

using namespace translate;
using namespace difftensor;

namespace {

Pairs letters(int count) {
  Pairs pairs;
  for (int i = 0; i < count; ++i)
    pairs.add("source " + std::to_string(i), "target " + std::to_string(i), static_cast<size_t>(i) + 1);
  return pairs;
}

// "other ⟦ inner ⟧" into its parts.
struct Parts {
  std::string before, inner, after;
};
Parts parts_of(const std::string& source) {
  const std::string opening = "⟦ ", closing = " ⟧";
  const size_t from = source.find(opening), to = source.find(closing);
  REQUIRE((from != std::string::npos && to != std::string::npos && from < to));
  const auto without_space = [](std::string text) {
    while (text.starts_with(' ')) text.erase(0, 1);
    while (text.ends_with(' ')) text.pop_back();
    return text;
  };
  return {without_space(source.substr(0, from)), source.substr(from + opening.size(), to - from - opening.size()),
          without_space(source.substr(to + closing.size()))};
}

}  // namespace

TEST_CASE("what is to be translated stands between marks, the other sentence beside it") {
  CHECK(marked("a cat sleeps", "", Place::nowhere) == "⟦ a cat sleeps ⟧");
  CHECK(marked("a cat sleeps", "dogs run", Place::before) == "dogs run ⟦ a cat sleeps ⟧");
  CHECK(marked("a cat sleeps", "dogs run", Place::after) == "⟦ a cat sleeps ⟧ dogs run");
}

TEST_CASE("the other sentence is never the same text, and any of the others") {
  Sentences three;
  for (const char* text : {"a", "b", "a"}) three.add(text);
  std::map<size_t, int> drawn;
  Random random(1);
  for (int i = 0; i < 200; ++i) {
    const std::vector<size_t> others = draw_others(three, random);
    CHECK(others.at(0) == 1);
    CHECK(others.at(2) == 1);
    ++drawn[others.at(1)];
  }
  CHECK(drawn.size() == 2);
  CHECK(drawn[0] > 60);
  CHECK(drawn[2] > 60);
  Sentences same;
  same.add("a");
  CHECK(contains(error_of([&] { draw_others(same, random); }), "all sources are the same"));
  same.add("a");
  CHECK(contains(error_of([&] { draw_others(same, random); }), "all sources are the same"));
}

TEST_CASE("a share of the pairs has a distractor, as often before as after; targets stay") {
  const Pairs plain = letters(2000), mixed = with_distractors(plain, 0.6, Random(3));
  REQUIRE(mixed.size() == 2000);
  std::map<std::string, int> sources;
  for (size_t i = 0; i < plain.size(); ++i) sources[plain[i].source] = static_cast<int>(i);
  int before = 0, after = 0;
  std::set<std::string> others;
  for (size_t i = 0; i < mixed.size(); ++i) {
    const Pair pair = mixed[i];
    const Parts parts = parts_of(pair.source);
    CHECK(parts.inner == plain[i].source);
    CHECK(pair.target == plain[i].target);
    CHECK(pair.line == plain[i].line);
    before += !parts.before.empty(), after += !parts.after.empty();
    CHECK((parts.before.empty() || parts.after.empty()));
    const std::string other = parts.before + parts.after;
    if (other.empty()) continue;
    CHECK(sources.contains(other));
    CHECK(other != parts.inner);
    others.insert(other);
  }
  CHECK(std::abs(before - 600) < 70);  // three standard deviations of 20.5
  CHECK(std::abs(after - 600) < 70);
  CHECK(others.size() > 800);
  const auto same = [](const Pairs& a, const Pairs& b) {
    for (size_t i = 0; i < a.size(); ++i)
      if (a[i].source != b[i].source) return false;
    return true;
  };
  CHECK(same(mixed, with_distractors(plain, 0.6, Random(3))));
  CHECK(!same(mixed, with_distractors(plain, 0.6, Random(4))));
  Pairs hostile = letters(3);
  hostile.add("a ⟧ b", "c");
  CHECK(contains(error_of([&] { with_distractors(hostile, 0.5, Random(1)); }), "source 4 has ⟧ in it"));
}

TEST_CASE("a test set has the same distractors before and after") {
  const Pairs pairs = letters(50);
  const auto alone = test_sources(pairs, Place::nowhere), before = test_sources(pairs, Place::before),
             after = test_sources(pairs, Place::after);
  for (size_t i = 0; i < pairs.size(); ++i) {
    CHECK(alone[i] == "⟦ " + pairs[i].source + " ⟧");
    const Parts first = parts_of(before[i]), last = parts_of(after[i]);
    CHECK(first.inner == pairs[i].source);
    CHECK(last.inner == pairs[i].source);
    CHECK(first.before == last.after);
    CHECK(!first.before.empty());
    CHECK(first.after.empty());
    CHECK(last.before.empty());
  }
}

TEST_CASE("a training with distractors marks what it trains and validates on, and knows the marks") {
  Settings s;
  s.task = "reverse", s.pairs = 300, s.distractors = 0.5;
  s.resolve();
  const Splits splits = load_pairs(s);
  int beside = 0;
  for (size_t i = 0; i < splits.train.size(); ++i) {
    const Parts parts = parts_of(splits.train[i].source);
    CHECK(std::string(parts.inner.rbegin(), parts.inner.rend()) == splits.train[i].target);
    beside += parts.before.empty() != parts.after.empty();
  }
  CHECK(std::abs(beside - 150) < 30);
  for (size_t i = 0; i < splits.valid.size(); ++i) parts_of(splits.valid[i].source);
  CHECK(!contains(splits.test[0].source, "⟦"));
  s.loop_settings.seed = 2;
  const Splits other = load_pairs(s);
  CHECK(other.valid[7].source == splits.valid[7].source);
  CHECK(other.train[7].source != splits.train[7].source);

  const Vocabulary vocabulary = learn_vocabulary(splits.train.sources(), splits.train.targets(), 60);
  const std::vector<int32_t> ids = vocabulary.encode("⟦ a b ⟧");
  CHECK(std::count(ids.begin(), ids.end(), Vocabulary::unknown) == 0);
  s.distractors = 0;
  CHECK(!contains(load_pairs(s).train[0].source, "⟦"));
}
