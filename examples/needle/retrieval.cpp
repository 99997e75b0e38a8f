#include "examples/needle/retrieval.h"

#include <algorithm>
#include <map>
#include <numeric>

namespace needle {

using difftensor::Random;
using difftensor::require;

int64_t Retrieval::keys() const {
  int64_t count = 1;
  for (int64_t i = 0; i < key_tokens; ++i) count *= alphabet;
  return count;
}

Retrieval Retrieval::resized(int64_t new_context, int64_t new_needles, int64_t new_queries) const {
  Retrieval r = *this;
  r.context = new_context, r.needles = new_needles, r.queries = new_queries;
  require(0 < r.queries && r.queries <= r.needles && r.needles <= keys(), "Retrieval", r.queries, " queries of ",
          r.needles, " needles with ", keys(), " keys");
  require(r.needles * (key_tokens + 1) <= r.context, "Retrieval", r.needles, " needles of ", key_tokens + 1,
          " tokens in a context of ", r.context);
  return r;
}

namespace {

// `count` different numbers below n, in random order: the first steps of a shuffle.
std::vector<int64_t> choose(int64_t count, int64_t n, Random& random) {
  std::vector<int64_t> all(static_cast<size_t>(n));
  std::iota(all.begin(), all.end(), int64_t{0});
  for (int64_t i = 0; i < count; ++i)
    std::swap(all[static_cast<size_t>(i)], all[static_cast<size_t>(i) + random.below(static_cast<uint64_t>(n - i))]);
  all.resize(static_cast<size_t>(count));
  return all;
}

int32_t draw(int64_t first, int64_t count, Random& random) {
  return static_cast<int32_t>(first + static_cast<int64_t>(random.below(static_cast<uint64_t>(count))));
}

// The tokens of key number `code`: its digits in the alphabet, the lowest first.
void write_key(const Retrieval& r, int64_t code, int32_t* to) {
  for (int64_t i = 0; i < r.key_tokens; ++i, code /= r.alphabet) to[i] = static_cast<int32_t>(1 + code % r.alphabet);
}

void add_sequence(const Retrieval& r, Random& random, Questions& q) {
  const int64_t first_value = 1 + r.alphabet, first_filler = first_value + r.values;
  const auto begin = static_cast<int64_t>(q.ids.size());
  const std::vector<int64_t> codes = choose(r.needles, r.keys(), random);
  std::vector<int32_t> values;
  for (int64_t i = 0; i < r.needles; ++i) values.push_back(draw(first_value, r.values, random));
  // Where needles begin, in a context in which each is one token long; the others move it to the right.
  std::vector<int64_t> starts = choose(r.needles, r.context - r.needles * r.key_tokens, random);
  std::sort(starts.begin(), starts.end());

  for (int64_t i = 0; i < r.context; ++i) q.ids.push_back(draw(first_filler, r.fillers, random));
  std::vector<int32_t> value_rows;
  for (int64_t i = 0; i < r.needles; ++i) {
    const int64_t row = begin + starts[i] + i * r.key_tokens;
    write_key(r, codes[i], &q.ids[row]);
    q.ids[row + r.key_tokens] = values[i];
    value_rows.push_back(static_cast<int32_t>(row + r.key_tokens));
  }
  for (const int64_t asked : choose(r.queries, r.needles, random)) {
    q.ids.push_back(0);
    q.ids.resize(q.ids.size() + static_cast<size_t>(r.key_tokens));
    write_key(r, codes[asked], &q.ids[q.ids.size() - static_cast<size_t>(r.key_tokens)]);
    q.where.push_back(static_cast<int32_t>(q.ids.size()) - 1);
    q.ids.push_back(values[asked]);
    q.answers.push_back(values[asked]);
    q.evidence.push_back(value_rows[asked]);
  }
  q.lengths.push_back(r.length());
}

}  // namespace

Questions sample(const Retrieval& setting, int64_t count, Random& random) {
  Questions questions;
  for (int64_t i = 0; i < count; ++i) add_sequence(setting, random, questions);
  return questions;
}

Questions slice(const Questions& all, int64_t begin, int64_t end) {
  const auto sequences = static_cast<int64_t>(all.lengths.size());
  const int64_t length = all.lengths.at(0), queries = static_cast<int64_t>(all.where.size()) / sequences;
  const auto part = [](const auto& v, int64_t from, int64_t to, int64_t less) {
    std::decay_t<decltype(v)> result(v.begin() + from, v.begin() + to);
    for (auto& x : result) x -= static_cast<std::decay_t<decltype(x)>>(less);
    return result;
  };
  return {part(all.ids, begin * length, end * length, 0), part(all.lengths, begin, end, 0),
          part(all.where, begin * queries, end * queries, begin * length),
          part(all.answers, begin * queries, end * queries, 0),
          part(all.evidence, begin * queries, end * queries, begin * length)};
}

const RetrievalTask& retrieval_task(const std::string& name) {
  static const auto tasks = [] {
    const Retrieval one{.context = 224, .needles = 16, .queries = 8, .key_tokens = 1, .alphabet = 64};
    const Retrieval two{
        .context = 112, .needles = 16, .queries = 8, .key_tokens = 2, .alphabet = 16, .values = 64, .fillers = 64};
    return std::map<std::string, RetrievalTask>{
        {"needle1", {one, {one.resized(12, 4, 4), one.resized(40, 8, 8), one.resized(112, 16, 8)}, 0.6, 3000, 4096}},
        {"needle2", {two, {two.resized(16, 4, 4), two.resized(48, 8, 8)}, 0.6, 5000, 4096}}};
  }();
  const auto found = tasks.find(name);
  require(found != tasks.end(), "needle", "task \"", name, "\" is none of needle1, needle2");
  return found->second;
}

}  // namespace needle
