#include "examples/translate/survey.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <unordered_map>
#include <unordered_set>

#include "examples/text/corpus.h"
#include "examples/text/unicode.h"
#include "models/decode.h"

namespace translate {
namespace {

// Lines of whatever bytes, without "\n" or "\r\n", nor a byte order mark.
std::vector<std::string> raw_lines(const std::string& path) {
  const std::string bytes = read_file(path);
  std::vector<std::string> lines;
  for (size_t begin = 0, end; begin < bytes.size(); begin = end + 1) {
    end = std::min(bytes.find('\n', begin), bytes.size());
    lines.push_back(bytes.substr(begin, end - begin));
    strip_line(lines.back(), begin == 0);
  }
  return lines;
}

// One that the vocabulary would make tokens of, and a translation would have to come with.
bool has_stray_space(const std::string& text) {
  return text.starts_with(' ') || text.ends_with(' ') || text.find("  ") != std::string::npos;
}

int64_t count_words(const std::string& text) { return static_cast<int64_t>(split(text).size()); }

}  // namespace

bool Survey::trainable() const {
  return std::none_of(findings.begin(), findings.end(), [](const Finding& f) { return f.fatal && f.count > 0; });
}

Survey read_corpus(const std::string& source_file, const std::string& target_file) {
  const bool tsv = target_file.empty();
  Survey survey;
  survey.files = {source_file, tsv ? source_file : target_file};
  std::vector<std::string> source = raw_lines(source_file), target = tsv ? source : raw_lines(target_file);
  survey.lines = {static_cast<int64_t>(source.size()), static_cast<int64_t>(target.size())};

  Finding unequal{"files of different lengths", true}, few{"fewer than two pairs", true};
  Finding tabs{"lines without exactly one tab", true}, bytes{"lines of invalid UTF-8", true};
  Finding empty{"empty sentences", true}, repeated{"pairs that repeat an earlier one", false};
  Finding again{"sources again, with another target", false}, same{"source and target the same", false};
  Finding spaces{"sentences with a space at an end, or two in a row", false};
  if (source.size() != target.size())
    unequal.add((source.size() < target.size() ? source_file : target_file) + " ends first");

  std::unordered_set<std::string> seen_pairs, seen_sources;
  for (size_t i = 0; i < std::min(source.size(), target.size()); ++i) {
    std::string line = ":";
    line += std::to_string(i + 1);
    if (tsv) {
      const size_t tab = source[i].find('\t');
      if (tab == std::string::npos || source[i].find('\t', tab + 1) != std::string::npos) {
        tabs.add(source_file + line);
        continue;
      }
      target[i] = source[i].substr(tab + 1);
      source[i].resize(tab);
    }
    bool readable = true;
    for (const auto& [text, file] : {std::pair{&source[i], &survey.files[0]}, {&target[i], &survey.files[1]}}) {
      Finding* fault = find_invalid_utf8(*text) != std::string::npos ? &bytes : is_blank(*text) ? &empty : nullptr;
      if (!fault) continue;
      fault->add(*file + line);
      readable = false;
      if (tsv) break;  // the other side has the same place
    }
    if (!readable) continue;
    SurveyedPair pair{source[i], target[i], source_file + line, {count_words(source[i]), count_words(target[i])}, {}};
    if (has_stray_space(pair.source) || has_stray_space(pair.target)) spaces.add(pair.place);
    if (pair.source == pair.target) same.add(pair.place);
    const bool known = !seen_sources.insert(pair.source).second;
    if (!seen_pairs.insert(pair.source + '\t' + pair.target).second)
      repeated.add(pair.place);
    else if (known)
      again.add(pair.place);
    survey.pairs.push_back(std::move(pair));
  }
  if (survey.pairs.size() < 2) few.add(source_file);
  survey.findings = {unequal, few};
  if (tsv) survey.findings = {few, tabs};
  survey.findings.insert(survey.findings.end(), {bytes, empty, repeated, again, same, spaces});
  return survey;
}

void LostText::check(const Vocabulary& vocabulary, const std::string& source, const std::vector<int32_t>& source_ids,
                     const std::string& target, const std::vector<int32_t>& target_ids, const std::string& place) {
  using enum Vocabulary::Loss;
  const Vocabulary::Loss of_source = vocabulary.loss(source, source_ids);
  const Vocabulary::Loss of_target = vocabulary.loss(target, target_ids);
  if (of_source == unknown_characters || of_target == unknown_characters)
    unknown.add(place);
  else if (of_source == other_text || of_target == other_text)
    changed.add(place);
}

std::string describe(const Finding& finding) {
  std::string text = finding.what;
  for (size_t i = 0; i < finding.places.size(); ++i) text += (i ? ", " : ": ") + finding.places[i];
  return text + (finding.count > static_cast<int64_t>(finding.places.size()) ? ", ..." : "");
}

void count_subwords(Survey& survey, const Vocabulary& vocabulary) {
  LostText lost;
  for (SurveyedPair& pair : survey.pairs) {
    const std::vector<int32_t> source = vocabulary.encode(pair.source), target = vocabulary.encode(pair.target);
    pair.subwords = {static_cast<int64_t>(source.size()), static_cast<int64_t>(target.size())};
    lost.check(vocabulary, pair.source, source, pair.target, target, pair.place);
  }
  survey.findings.insert(survey.findings.end(), {lost.unknown, lost.changed});
}

void check_lengths(Survey& survey, int64_t max_length, bool subwords) {
  const auto length = [&](const SurveyedPair& pair, int side) {
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
    if (std::max(s, t) + 1 > max_length) long_pairs.add(pair.place);
    if (t + 1 > decoding.max_length(s + 1)) cut.add(pair.place);
    const double expected = median * static_cast<double>(s), found = static_cast<double>(t);
    if (std::max(expected, found) > 3 * std::min(expected, found) && std::abs(expected - found) > 5)
      odd.add(pair.place);
  }
  survey.findings.insert(survey.findings.end(), {long_pairs, odd, cut});
}

}  // namespace translate
