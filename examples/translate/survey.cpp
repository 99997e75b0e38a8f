#include "examples/translate/survey.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>
#include <unordered_set>

#include "core/kernels/parallel.h"
#include "examples/text/encoder.h"
#include "examples/text/unicode.h"
#include "examples/translate/corpus_progress.h"
#include "models/decode.h"

namespace translate {
namespace {

constexpr int64_t pairs_at_once = 4096;  // that a thread counts

// A space that the vocabulary would make tokens of, and a translation would have to come with.
bool has_stray_space(std::string_view text) {
  return text.starts_with(' ') || text.ends_with(' ') || text.find("  ") != std::string::npos;
}

// Tells which sentences, and which pairs of them, came before.
class Repetitions {
 public:
  explicit Repetitions(const std::array<Sentences, 2>& sentences) : sentences_(sentences) {}
  /// Of the pair that was added last.
  struct Found {
    bool source, pair;
  };
  Found look_up() {
    const Sentences &sources = sentences_[0], &targets = sentences_[1];
    const auto last = static_cast<uint32_t>(sources.size() - 1);
    const uint64_t hash = sources.hash(last);
    const uint32_t of_source = sources_.find_or_add(hash, last, [&](uint32_t i) { return sources.are_same(i, last); });
    const uint32_t of_pair = pairs_.find_or_add(hash * 31 + targets.hash(last), last, [&](uint32_t i) {
      return sources.are_same(i, last) && targets.are_same(i, last);
    });
    return {of_source != last, of_pair != last};
  }

 private:
  const std::array<Sentences, 2>& sentences_;
  HashIndex sources_, pairs_;
};

// Of the two sides of a corpus, as they are written: a line of each file, or one of a TSV.
class LinePairs {
 public:
  LinePairs(const std::string& source, const std::string& target, const ReadingProgress& progress)
      : source_(source, progress) {
    if (!target.empty()) target_.emplace(target);
  }
  /// False at the end of the shorter file.
  bool next(std::string& source, std::string& target) {
    const bool more = source_.next(source);
    return target_ ? target_->next(target) && more : more;
  }
  /// Reads the rest of the longer file. How many lines each has.
  std::array<int64_t, 2> count_lines() {
    for (std::string line; source_.next(line);) continue;
    for (std::string line; target_ && target_->next(line);) continue;
    return {source_.lines(), target_ ? target_->lines() : source_.lines()};
  }
  /// About how many a side has, by the sizes of the files.
  int64_t bytes(int side) const {
    if (!target_) return source_.bytes() / 2;
    return side == 0 ? source_.bytes() : target_->bytes();
  }

 private:
  LineReader source_;
  std::optional<LineReader> target_;
};

// The words of each side of each pair: each distinct one is looked at once.
void count_words(Survey& survey) {
  for (int side = 0; side < 2; ++side) {
    const Sentences& sentences = survey.sentences[side];
    std::vector<int32_t> words(sentences.words());  // in each that is between spaces: other spaces may be in it
    for (uint32_t number = 0; number < words.size(); ++number)
      words[number] = static_cast<int32_t>(split(sentences.word(number)).size());
    const auto count = static_cast<int64_t>(survey.pairs.size());
    difftensor::parallel_for(count, pairs_at_once, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        for (const uint32_t number : sentences[i]) survey.pairs[i].words[side] += words[number];
    });
  }
}

}  // namespace

bool Survey::trainable() const {
  return std::none_of(findings.begin(), findings.end(), [](const Finding& f) { return f.fatal && f.count > 0; });
}

Survey read_corpus(const std::string& source_file, const std::string& target_file, const ReadingProgress& progress) {
  const bool tsv = target_file.empty();
  Survey survey;
  survey.files = {source_file, tsv ? source_file : target_file};

  Finding unequal{"files of different lengths", true}, few{"fewer than two pairs", true};
  Finding tabs{"lines without exactly one tab", true}, bytes{"lines of invalid UTF-8", true};
  Finding empty{"empty sentences", true}, repeated{"pairs that repeat an earlier one", false};
  Finding again{"sources again, with another target", false}, same{"source and target the same", false};
  Finding spaces{"sentences with a space at an end, or two in a row", false};

  LinePairs lines(source_file, target_file, progress);
  for (const int side : {0, 1}) survey.sentences[side].reserve(lines.bytes(side));
  Repetitions repetitions(survey.sentences);
  std::string source, target;
  for (uint32_t number = 1; lines.next(source, target); ++number) {
    const auto place = [&](int side) { return survey.files[side] + ":" + std::to_string(number); };
    if (tsv) {
      const size_t tab = source.find('\t');
      if (tab == std::string::npos || source.find('\t', tab + 1) != std::string::npos) {
        tabs.add(place(0));
        continue;
      }
      target = source.substr(tab + 1);
      source.resize(tab);
    }
    bool readable = true;
    for (const int side : {0, 1}) {
      const std::string& text = side == 0 ? source : target;
      Finding* fault = find_invalid_utf8(text) != std::string::npos ? &bytes : is_blank(text) ? &empty : nullptr;
      if (!fault) continue;
      fault->add(place(side));
      readable = false;
      if (tsv) break;  // the other side has the same place
    }
    if (!readable) continue;
    survey.pairs.push_back({number});
    survey.sentences[0].add(source);
    survey.sentences[1].add(target);
    if (has_stray_space(source) || has_stray_space(target)) spaces.add(place(0));
    if (source == target) same.add(place(0));
    const auto [known_source, known_pair] = repetitions.look_up();
    if (known_pair)
      repeated.add(place(0));
    else if (known_source)
      again.add(place(0));
  }
  survey.lines = lines.count_lines();
  if (survey.lines[0] != survey.lines[1])
    unequal.add((survey.lines[0] < survey.lines[1] ? source_file : target_file) + " ends first");
  if (survey.pairs.size() < 2) few.add(source_file);
  count_words(survey);
  survey.findings = {unequal, few};
  if (tsv) survey.findings = {few, tabs};
  survey.findings.insert(survey.findings.end(), {bytes, empty, repeated, again, same, spaces});
  return survey;
}

size_t count_distinct_words(const Survey& survey, int side) {
  const Sentences& sentences = survey.sentences[side];
  std::unordered_set<std::string_view> different;
  for (uint32_t number = 0; number < sentences.words(); ++number)
    for (const std::string_view word : split(sentences.word(number))) different.insert(word);
  return different.size();
}

std::string describe(const Finding& finding) {
  std::string text = finding.what;
  for (size_t i = 0; i < finding.places.size(); ++i) text += (i ? ", " : ": ") + finding.places[i];
  return text + (finding.count > static_cast<int64_t>(finding.places.size()) ? ", ..." : "");
}

void count_subwords(Survey& survey, const Vocabulary& vocabulary) {
  const auto count = static_cast<int64_t>(survey.pairs.size());
  std::vector<std::array<Vocabulary::Loss, 2>> losses(survey.pairs.size());
  for (int side = 0; side < 2; ++side) {
    const Encoder encoder(vocabulary, survey.sentences[side]);
    SentenceProgress progress(count);
    difftensor::parallel_for(count, pairs_at_once, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const auto [length, loss] = encoder.outcome(i);
        survey.pairs[i].subwords[side] = length;
        losses[i][side] = loss;
      }
      progress.add(end - begin);
    });
  }
  LostText lost;
  for (size_t i = 0; i < losses.size(); ++i)
    lost.check(losses[i][0], losses[i][1], [&] { return survey.place(survey.pairs[i]); });
  survey.findings.insert(survey.findings.end(), {lost.unknown, lost.changed});
}

void check_lengths(Survey& survey, int64_t max_length, bool subwords) {
  const auto length = [&](const SurveyedPair& pair, int side) -> int64_t {
    return subwords ? pair.subwords[side] : pair.words[side];
  };
  std::vector<double> ratios;
  for (const SurveyedPair& pair : survey.pairs)
    ratios.push_back(static_cast<double>(length(pair, 1)) / static_cast<double>(std::max<int64_t>(1, length(pair, 0))));
  double median = 1;
  if (!ratios.empty()) {
    std::nth_element(ratios.begin(), ratios.begin() + ratios.size() / 2, ratios.end());
    median = std::max(ratios[ratios.size() / 2], 0.01);
  }
  const std::string unit = subwords ? "subwords" : "words";
  char ratio[160];
  std::snprintf(ratio, sizeof ratio, "lengths that do not fit: over 3 times, and 5 %s, off the usual ratio %.2f",
                unit.c_str(), median);
  const difftensor::models::DecodeOptions decoding;
  char limit[160];
  std::snprintf(limit, sizeof limit,
                "targets longer than %g times the source and %ld: translations stop there (train --max-length-factor)",
                decoding.max_length_factor, decoding.max_length_extra);
  Finding cut{limit, false};
  Finding long_pairs{"pairs over --max-length " + std::to_string(max_length) + ", in " + unit, true};
  Finding odd{ratio, false};
  for (const SurveyedPair& pair : survey.pairs) {
    const int64_t s = length(pair, 0), t = length(pair, 1);
    if (std::max(s, t) + 1 > max_length) long_pairs.add(survey.place(pair));
    if (t + 1 > decoding.max_length(s + 1)) cut.add(survey.place(pair));
    const double expected = median * static_cast<double>(s), found = static_cast<double>(t);
    if (std::max(expected, found) > 3 * std::min(expected, found) && std::abs(expected - found) > 5)
      odd.add(survey.place(pair));
  }
  survey.findings.insert(survey.findings.end(), {long_pairs, odd, cut});
}

}  // namespace translate
