#pragma once
// Turning a trained model into translations: greedy and beam search, many sentences at once.
//
// A model gives the probability of each next word, so that of a whole translation is a product of many. A hypothesis is
// a translation as far as it is written; it is open until it ends with EOS.
#include "models/transformer.h"

namespace difftensor::inline DT_PRECISION::models {

/// How a translation is looked for.
struct DecodeOptions {
  int beam = 1;                    ///< hypotheses kept open per sentence; 1 is greedy search
  int n_best = 1;                  ///< translations wanted of each source, at most `beam`
  double length_penalty = 1;       ///< alpha: a hypothesis scores log P / length^alpha, EOS counted; 0 to 30
  int64_t batch_size = 64;         ///< sentences decoded together, those of about one length
  int32_t bos = 1, eos = 2;        ///< ids that begin and end every translation
  double max_length_factor = 1.5;  ///< see max_length()
  int64_t max_length_extra = 10;   ///< from -1000000 to 1000000

  /// The most tokens that a translation of so many source tokens may have, EOS counted on both sides:
  /// max_length_factor * source + max_length_extra, but room for EOS always.
  int64_t max_length(int64_t source) const {
    const auto longest = static_cast<int64_t>(max_length_factor * static_cast<double>(source)) + max_length_extra;
    return std::max<int64_t>(1, longest);
  }
};

/// A translation: its token ids without BOS and EOS, and its score log P / length^alpha.
struct Hypothesis {
  std::vector<int32_t> tokens;
  double score;
};

/// The best translations of each source (ids with EOS), best first: up to `n_best`, at least one.
///
/// Greedy search takes the likeliest word at every step. That can be a mistake: the likeliest word may lead where all
/// that follows is unlikely. Beam search keeps the `beam` likeliest open hypotheses of a sentence, sets aside those
/// that end, and stops when no open one can pass the worst of the `n_best` that it has set aside: log P only falls, so
/// log P / L^alpha at the greatest length L bounds what a hypothesis can still reach. So the best is the same for any
/// `n_best`; more take longer. models/decode.cpp has the steps.
///
/// `finished`, if set, is called with the number of sentences done, by one thread at a time, and must not throw. Throws
/// std::invalid_argument if an option makes no sense, the model is in training mode or a score is not finite.
std::vector<std::vector<Hypothesis>> decode(const Transformer& model, const std::vector<std::vector<int32_t>>& sources,
                                            const DecodeOptions& options = {},
                                            const std::function<void(int64_t)>& finished = {});

}  // namespace difftensor::inline DT_PRECISION::models
