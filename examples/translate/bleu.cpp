#include "examples/translate/bleu.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <stdexcept>
#include <string_view>
#include <unordered_map>

#include "examples/text/unicode.h"

namespace translate {

using namespace text;
namespace {

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_mark(char c) { return c == '.' || c == ','; }
bool is_dash(char c) { return c == '-'; }
// ASCII that is not a letter, a digit, a mark or a dash; nor an apostrophe, as in "isn't".
bool is_symbol(char c) {
  return c >= ' ' && c <= '~' && !is_digit(c) && !is_mark(c) && !is_dash(c) && c != '\'' && !(c >= 'a' && c <= 'z') &&
         !(c >= 'A' && c <= 'Z');
}

// Puts a space inside each pair of characters of these kinds, and one before or after it. Pairs do not overlap, as
// matches of a regular expression do not: the second character of one is not the first of the next.
template <class First, class Second>
std::string space_pairs(const std::string& text, const char* before, First first, Second second, const char* after) {
  std::string spaced;
  for (size_t i = 0; i < text.size(); ++i)
    if (i + 1 < text.size() && first(text[i]) && second(text[i + 1])) {
      spaced.append(before) += text[i];
      spaced.append(" ") += text[++i];
      spaced.append(after);
    } else {
      spaced += text[i];
    }
  return spaced;
}

// The tokenizer of mteval-v13a.pl, as in sacreBLEU: puts spaces around punctuation. It only looks at ASCII, so that
// bytes of UTF-8 do as well as characters.
std::string tokenize_13a(std::string line) {
  replace_all(line, "<skipped>", "");
  replace_all(line, "&quot;", "\"");
  replace_all(line, "&amp;", "&");
  replace_all(line, "&lt;", "<");
  replace_all(line, "&gt;", ">");
  std::string text = " ";
  for (const char c : line) text += is_symbol(c) ? std::string{' ', c, ' '} : std::string(1, c);
  text += ' ';
  text = space_pairs(text, "", std::not_fn(is_digit), is_mark, " ");
  text = space_pairs(text, " ", is_mark, std::not_fn(is_digit), "");
  return space_pairs(text, "", is_digit, is_dash, " ");
}

std::vector<std::string> tokens_of(const std::string& sentence, const BleuOptions& options) {
  std::string text = options.lowercase ? to_lower(sentence) : sentence;
  if (options.tokenize) text = tokenize_13a(text);
  const auto words = split(text);
  return {words.begin(), words.end()};
}

using Counts = std::unordered_map<std::string, int64_t>;

Counts count_ngrams(const std::vector<std::string>& tokens, size_t order) {
  Counts counts;
  for (size_t i = 0; i + order <= tokens.size(); ++i) {
    std::string ngram;
    for (size_t k = i; k < i + order; ++k) ngram += tokens[k] + ' ';
    ++counts[ngram];
  }
  return counts;
}

// All that BLEU looks at: these add up from segments to a corpus.
struct Statistics {
  std::array<int64_t, 4> correct{}, total{};  // n-grams of the hypothesis, for n from 1: those in the reference, all
  int64_t sys_len = 0, ref_len = 0;

  void operator+=(const Statistics& s) {
    for (size_t n = 0; n < 4; ++n) correct[n] += s.correct[n], total[n] += s.total[n];
    sys_len += s.sys_len, ref_len += s.ref_len;
  }
};

Statistics compare(const std::vector<std::string>& hypothesis, const std::vector<std::string>& reference) {
  Statistics s;
  s.sys_len = static_cast<int64_t>(hypothesis.size());
  s.ref_len = static_cast<int64_t>(reference.size());
  for (size_t n = 0; n < 4; ++n) {
    const Counts allowed = count_ngrams(reference, n + 1);
    for (const auto& [ngram, count] : count_ngrams(hypothesis, n + 1)) {
      s.total[n] += count;
      if (const auto found = allowed.find(ngram); found != allowed.end())
        s.correct[n] += std::min(count, found->second);
    }
  }
  return s;
}

Bleu bleu_of(const Statistics& s) {
  Bleu bleu;
  bleu.sys_len = s.sys_len, bleu.ref_len = s.ref_len;
  if (s.sys_len < s.ref_len)
    bleu.brevity_penalty = s.sys_len ? std::exp(1 - static_cast<double>(s.ref_len) / s.sys_len) : 0;
  if (s.correct == std::array<int64_t, 4>{}) return bleu;

  double smoothing = 1, log_sum = 0;
  for (size_t n = 0; n < 4; ++n) {
    if (s.total[n] == 0) return bleu;  // no hypothesis is that long: score 0
    const double matches = s.correct[n] ? static_cast<double>(s.correct[n]) : 1 / (smoothing *= 2);
    bleu.precisions[n] = 100 * matches / s.total[n];
    log_sum += std::log(bleu.precisions[n]);
  }
  bleu.score = bleu.brevity_penalty * std::exp(log_sum / 4);
  return bleu;
}

}  // namespace

bool has_4gram(const std::string& text, const BleuOptions& options) { return tokens_of(text, options).size() >= 4; }

Bleu corpus_bleu(const std::vector<std::string>& hypotheses, const std::vector<std::string>& references,
                 const BleuOptions& options) {
  if (hypotheses.size() != references.size())
    throw std::invalid_argument("corpus_bleu: " + std::to_string(hypotheses.size()) + " hypotheses, but " +
                                std::to_string(references.size()) + " references");
  std::vector<Statistics> segments;
  Statistics corpus;
  for (size_t i = 0; i < hypotheses.size(); ++i) {
    segments.push_back(compare(tokens_of(hypotheses[i], options), tokens_of(references[i], options)));
    corpus += segments.back();
  }
  Bleu bleu = bleu_of(corpus);
  bleu.options = options;
  if (options.confidence)
    bleu.interval = bootstrap(segments.size(), [&](const std::vector<uint32_t>& draw) {
      Statistics sum;
      for (const uint32_t i : draw) sum += segments[i];
      return bleu_of(sum).score;
    });
  return bleu;
}

std::string Bleu::format() const {
  char score_text[32], details[160];
  std::snprintf(score_text, sizeof score_text, "%.2f", score);
  std::snprintf(details, sizeof details, " %.1f/%.1f/%.1f/%.1f (BP = %.3f ratio = %.3f hyp_len = %lld ref_len = %lld)",
                precisions[0], precisions[1], precisions[2], precisions[3], brevity_penalty,
                ref_len ? static_cast<double>(sys_len) / ref_len : 0.0, static_cast<long long>(sys_len),
                static_cast<long long>(ref_len));
  return "BLEU|nrefs:1|" + bootstrap_signature(options.confidence) + "case:" + (options.lowercase ? "lc" : "mixed") +
         "|eff:no|tok:" + (options.tokenize ? "13a" : "none") + "|smooth:exp|version:difftensor = " + score_text +
         interval.format() + details;
}

}  // namespace translate
