#pragma once
// How well a model predicts, and how much looking back helps it.
#include "examples/language_model/corpus.h"
#include "examples/training/charts.h"
#include "examples/training/lambdas.h"

namespace language_model {

/// The loss of each place in a context: that of the first token, predicted from one token alone, that of the second,
/// predicted from two, and so on. Where the curve still falls, the model makes use of what lies so far back.
struct LossByPosition {
  std::vector<double> nll;           ///< -log p of the right tokens, summed over all contexts, at each place
  std::vector<int64_t> count;        ///< how many there were
  int64_t right = 0;                 ///< how often the likeliest token was the right one
  std::vector<double> lambdas = {};  ///< the mean of each attention that was asked for

  int64_t targets() const;
  /// The mean over all tokens: what the sums of the places add up to, divided by their counts.
  double loss() const;
  double percent_right() const;
  /// Bits for each byte of a text of so many: what it would take if it were compressed with this model. Unlike loss or
  /// perplexity, it compares models of different vocabularies.
  double bits_per_byte(int64_t bytes) const;
  /// The mean loss of neighbouring places, counted from 1.
  struct Part {
    int64_t first, last;
    double loss;
  };
  /// Parts that grow with the place, so many to an octave; of one to an octave: 1, 2-3, 4-7, 8-15, ...
  std::vector<Part> parts(int to_an_octave) const;
  /// Four to an octave, as points at the middle of each.
  std::vector<training::Point> curve() const;
};

/// Of all texts of the corpus, cut into contexts of `length` tokens, and the lambdas of these attentions. Every rank
/// calls it (examples/training/ranks.h), and gets the same.
LossByPosition loss_by_position(const difftensor::models::LanguageModel& model, const Corpus& corpus, int64_t length,
                                const training::NamedAttentions& attentions = {});

}  // namespace language_model
