#pragma once
// Writing with a language model: each next token drawn at random from what the model says of it.
#include <functional>

#include "models/language_model.h"

namespace difftensor::inline DT_PRECISION::models {

/// How the next token is drawn. Always taking the likeliest makes a text go round in circles, and the many unlikely
/// ones derail it. Temperature moves between the two, top_k and top_p cut the unlikely off.
struct SampleOptions {
  double temperature = 1;    ///< the logits are divided by it; 0: always the likeliest
  int64_t top_k = 0;         ///< only the k likeliest tokens; 0: all
  double top_p = 1;          ///< of these the fewest whose probabilities add up to p (Holtzman et al. 2020); 1: all
  uint64_t seed = 1;         ///< text i draws from stream i + 1 of this seed, one number for each token
  int64_t max_tokens = 100;  ///< to write after each prompt; up to 2^40, if memory has room
  int32_t end = -1;          ///< a token that ends its text, and is no part of it; -1: none
  /// The most tokens that the model sees at once, 0: all. When a window is full, the next begins with its later half.
  /// Texts longer than those that a model was trained on need one.
  int64_t window = 0;
};

/// A token that may come next.
struct NextToken {
  int32_t token;
  double probability;
};

/// What may be drawn after logits (V), likeliest first, of equals the lower id first; their probabilities add up to 1:
///   p_i ~ exp(logits_i / temperature), of the top_k; of these those of top_p.
/// Throws std::invalid_argument if an option makes no sense, or the largest logit is not finite, or one is NaN.
std::vector<NextToken> candidates(const Scalar* logits, int64_t V, const SampleOptions& options);

/// What the model writes after each prompt: the new tokens alone. All texts grow together, a token at a time, with keys
/// and values cached (LanguageModel::step); a text whose prompt is not over takes its next token from there. What is
/// written after a prompt depends on the prompt, its index and the options: not on the other prompts nor on the number
/// of threads.
///
/// `written`, if set, is called with the index of a text and each token as soon as it is drawn.
/// Throws std::invalid_argument if an option makes no sense, a prompt is empty, the model is in training mode, or its
/// scores are not finite.
std::vector<std::vector<int32_t>> sample(const LanguageModel& model, const std::vector<std::vector<int32_t>>& prompts,
                                         const SampleOptions& options = {},
                                         const std::function<void(size_t, int32_t)>& written = {});

}  // namespace difftensor::inline DT_PRECISION::models
