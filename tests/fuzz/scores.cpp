// BLEU and chrF of any bytes: lines by turns of the translation and of the reference.
#include <cmath>
#include <sstream>
#include <stdexcept>

#include "examples/text/unicode.h"
#include "examples/translate/bleu.h"
#include "examples/translate/chrf.h"
#include "tests/fuzz/fuzz.h"

namespace fuzz {

const Memory memory{64 << 10, 1500};

void fuzz(std::string_view input) {
  std::vector<std::string> hypotheses, references;
  std::istringstream in{std::string(input)};
  for (std::string a, b; std::getline(in, a);) {
    std::getline(in, b);
    hypotheses.push_back(a), references.push_back(b);
    b.clear();
  }
  // The same pairs, the last first.
  const std::vector<std::string> h(hypotheses.rbegin(), hypotheses.rend()), r(references.rbegin(), references.rend());
  const auto within = [](double score) { return score >= 0 && score <= 100 * (1 + 1e-12); };  // no NaN either
  for (const bool lowercase : {false, true})
    for (const bool tokenize : {false, true}) try {
        const translate::BleuOptions options{lowercase, tokenize};
        const translate::Bleu bleu = translate::corpus_bleu(hypotheses, references, options);
        check(within(bleu.score) && within(100 * bleu.brevity_penalty), "BLEU is in [0, 100]", bleu.format());
        for (const double p : bleu.precisions) check(within(p), "so are its precisions", bleu.format());
        check(translate::corpus_bleu(h, r, options).format() == bleu.format(), "the pairs' order does not matter");
        const translate::Bleu back = translate::corpus_bleu(references, hypotheses, options);
        check(back.sys_len == bleu.ref_len && back.ref_len == bleu.sys_len, "exchanged sides exchange their lengths");
        const translate::Bleu self = translate::corpus_bleu(references, references, options);
        check(self.score == 0 || std::abs(self.score - 100) < 1e-9, "a text is its own translation", self.format());

        const translate::ChrfOptions chrf_options{lowercase};
        const double chrf = translate::corpus_chrf(hypotheses, references, chrf_options).score;
        check(within(chrf), "chrF is in [0, 100]");
        check(translate::corpus_chrf(h, r, chrf_options).score == chrf, "the pairs' order does not matter");
        const double back_chrf = translate::corpus_chrf(references, hypotheses, chrf_options).score;
        check((back_chrf == 0) == (chrf == 0), "what shares nothing shares nothing the other way");
        bool blank = true;
        for (const std::string& text : references) blank = blank && text::split(text).empty();
        const double own = translate::corpus_chrf(references, references, chrf_options).score;
        check(blank ? own == 0 : lowercase || text::find_invalid_utf8(input) != input.npos || std::abs(own - 100) < 1e-9,
              "a text is its own translation");
      } catch (const std::invalid_argument&) {
        check(lowercase && text::find_invalid_utf8(input) != input.npos, "only lower case needs UTF-8");
      }
}

}  // namespace fuzz
