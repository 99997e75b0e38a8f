#include "examples/translate/bleu.h"

#include <algorithm>
#include <climits>
#include <clocale>
#include <cmath>
#include <cstdio>
#include <cwchar>
#include <cwctype>
#include <functional>
#include <stdexcept>
#include <string_view>
#include <unordered_map>

namespace translate {
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

// The length in bytes of the whitespace character that `text` begins with, 0 if it is another. Python's notion of it,
// which includes the no-break space.
size_t leading_space(std::string_view text) {
  const char c = text.front();
  if (c == ' ' || (c >= '\t' && c <= '\r') || (c >= '\x1c' && c <= '\x1f')) return 1;
  for (std::string_view space :
       {"\u0085", "\u00a0", "\u1680", "\u2000", "\u2001", "\u2002", "\u2003", "\u2004", "\u2005", "\u2006", "\u2007",
        "\u2008", "\u2009", "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000"})
    if (text.starts_with(space)) return space.size();
  return 0;
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> words;
  bool inside = false;
  for (size_t i = 0; i < text.size();) {
    if (const size_t space = leading_space(std::string_view(text).substr(i))) {
      inside = false;
      i += space;
    } else {
      if (!inside) words.emplace_back();
      inside = true;
      words.back() += text[i++];
    }
  }
  return words;
}

// Needs no locale of the user's: C.UTF-8 is part of glibc.
std::string to_lower(const std::string& text) {
  static const locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  if (!utf8) throw std::runtime_error("lowercase BLEU needs the locale C.UTF-8");
  const locale_t before = uselocale(utf8);
  std::string lower;
  std::mbstate_t in{}, out{};
  for (size_t i = 0; i < text.size();) {
    wchar_t wide;
    char bytes[MB_LEN_MAX];
    size_t length = std::mbrtowc(&wide, &text[i], text.size() - i, &in);
    if (length == 0 || length > text.size() - i) {  // a null byte, or not UTF-8: kept
      in = {};
      lower += text[i++];
      continue;
    }
    lower.append(bytes, std::wcrtomb(bytes, std::towlower(wide), &out));
    i += length;
  }
  uselocale(before);
  return lower;
}

std::vector<std::string> tokens_of(const std::string& sentence, const BleuOptions& options) {
  const std::string text = options.lowercase ? to_lower(sentence) : sentence;
  return split(options.tokenize ? tokenize_13a(text) : text);
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

}  // namespace

Bleu corpus_bleu(const std::vector<std::string>& hypotheses, const std::vector<std::string>& references,
                 const BleuOptions& options) {
  if (hypotheses.size() != references.size())
    throw std::invalid_argument("corpus_bleu: " + std::to_string(hypotheses.size()) + " hypotheses, but " +
                                std::to_string(references.size()) + " references");
  Bleu bleu;
  bleu.options = options;
  std::array<int64_t, 4> correct{}, total{};
  for (size_t i = 0; i < hypotheses.size(); ++i) {
    const auto hypothesis = tokens_of(hypotheses[i], options), reference = tokens_of(references[i], options);
    bleu.sys_len += static_cast<int64_t>(hypothesis.size());
    bleu.ref_len += static_cast<int64_t>(reference.size());
    for (size_t n = 0; n < 4; ++n) {
      const Counts allowed = count_ngrams(reference, n + 1);
      for (const auto& [ngram, count] : count_ngrams(hypothesis, n + 1)) {
        total[n] += count;
        if (const auto found = allowed.find(ngram); found != allowed.end())
          correct[n] += std::min(count, found->second);
      }
    }
  }
  if (bleu.sys_len < bleu.ref_len)
    bleu.brevity_penalty = bleu.sys_len ? std::exp(1 - static_cast<double>(bleu.ref_len) / bleu.sys_len) : 0;
  if (correct == std::array<int64_t, 4>{}) return bleu;

  double smoothing = 1, log_sum = 0;
  for (size_t n = 0; n < 4; ++n) {
    if (total[n] == 0) return bleu;  // no hypothesis is that long: score 0
    const double matches = correct[n] ? static_cast<double>(correct[n]) : 1 / (smoothing *= 2);
    bleu.precisions[n] = 100 * matches / total[n];
    log_sum += std::log(bleu.precisions[n]);
  }
  bleu.score = bleu.brevity_penalty * std::exp(log_sum / 4);
  return bleu;
}

std::string Bleu::format() const {
  char line[256];
  std::snprintf(line, sizeof line,
                "BLEU|nrefs:1|case:%s|eff:no|tok:%s|smooth:exp|version:difftensor = %.2f %.1f/%.1f/%.1f/%.1f "
                "(BP = %.3f ratio = %.3f hyp_len = %lld ref_len = %lld)",
                options.lowercase ? "lc" : "mixed", options.tokenize ? "13a" : "none", score, precisions[0],
                precisions[1], precisions[2], precisions[3], brevity_penalty,
                ref_len ? static_cast<double>(sys_len) / ref_len : 0.0, static_cast<long long>(sys_len),
                static_cast<long long>(ref_len));
  return line;
}

}  // namespace translate
