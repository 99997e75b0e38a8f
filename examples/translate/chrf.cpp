#include "examples/translate/chrf.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <stdexcept>
#include <string_view>
#include <unordered_map>

#include "examples/text/unicode.h"

namespace translate {

using namespace text;
namespace {

constexpr size_t orders = 6;

// Counts of n-grams, for n from 1: they add up from segments to a corpus.
struct Overlap {
  std::array<int64_t, orders> hypothesis{}, reference{}, matches{};

  void operator+=(const Overlap& s) {
    for (size_t n = 0; n < orders; ++n) {
      hypothesis[n] += s.hypothesis[n];
      reference[n] += s.reference[n];
      matches[n] += s.matches[n];
    }
  }

  double score() const {
    double precision = 0, recall = 0;
    int effective = 0;
    for (size_t n = 0; n < orders; ++n) {
      if (!hypothesis[n] || !reference[n]) continue;
      precision += static_cast<double>(matches[n]) / static_cast<double>(hypothesis[n]);
      recall += static_cast<double>(matches[n]) / static_cast<double>(reference[n]);
      ++effective;
    }
    if (precision + recall == 0) return 0;
    precision /= effective, recall /= effective;
    return 100 * 5 * precision * recall / (4 * precision + recall);
  }
};

// A text without its whitespace, and where each of its characters begins, and the end.
struct Characters {
  std::string text;
  std::vector<size_t> begin;

  Characters(const std::string& sentence, bool lowercase) {
    const std::string cased = lowercase ? to_lower(sentence) : sentence;
    for (const std::string_view word : split(cased)) text += word;
    for (size_t i = 0; i < text.size(); ++i)
      if (begins_character(text[i])) begin.push_back(i);
    begin.push_back(text.size());
  }

  std::unordered_map<std::string_view, int64_t> ngrams(size_t n) const {
    std::unordered_map<std::string_view, int64_t> counts;
    for (size_t i = 0; i + n < begin.size(); ++i)
      ++counts[std::string_view(text).substr(begin[i], begin[i + n] - begin[i])];
    return counts;
  }
  int64_t count(size_t n) const { return begin.size() > n ? static_cast<int64_t>(begin.size() - n) : 0; }
};

Overlap compare(const Characters& hypothesis, const Characters& reference) {
  Overlap s;
  for (size_t n = 0; n < orders; ++n) {
    s.reference[n] = reference.count(n + 1);
    s.hypothesis[n] = s.reference[n] ? hypothesis.count(n + 1) : 0;  // sacreBLEU's rule
    const auto allowed = reference.ngrams(n + 1);
    for (const auto& [ngram, count] : hypothesis.ngrams(n + 1))
      if (const auto found = allowed.find(ngram); found != allowed.end())
        s.matches[n] += std::min(count, found->second);
  }
  return s;
}

}  // namespace

Chrf corpus_chrf(const std::vector<std::string>& hypotheses, const std::vector<std::string>& references,
                 const ChrfOptions& options) {
  if (hypotheses.size() != references.size())
    throw std::invalid_argument("corpus_chrf: " + std::to_string(hypotheses.size()) + " hypotheses, but " +
                                std::to_string(references.size()) + " references");
  std::vector<Overlap> segments;
  Overlap corpus;
  for (size_t i = 0; i < hypotheses.size(); ++i) {
    segments.push_back(
        compare(Characters(hypotheses[i], options.lowercase), Characters(references[i], options.lowercase)));
    corpus += segments.back();
  }
  Chrf chrf{corpus.score(), {}, options};
  if (options.confidence)
    chrf.interval = bootstrap(segments.size(), [&](const std::vector<uint32_t>& draw) {
      Overlap sum;
      for (const uint32_t i : draw) sum += segments[i];
      return sum.score();
    });
  return chrf;
}

std::string Chrf::format() const {
  char score_text[32];
  std::snprintf(score_text, sizeof score_text, "%.2f", score);
  return "chrF2|nrefs:1|" + bootstrap_signature(options.confidence) + "case:" + (options.lowercase ? "lc" : "mixed") +
         "|eff:yes|nc:6|nw:0|space:no|version:difftensor = " + score_text + interval.format();
}

}  // namespace translate
