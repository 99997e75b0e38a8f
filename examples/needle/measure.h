#pragma once
// What is measured of a model that retrieves.
#include <array>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "examples/needle/retrieval.h"
#include "models/language_model.h"
#include "nn/attention.h"

namespace needle {

/// Accuracy and loss of a model on questions.
struct Score {
  double accuracy = 0;                        ///< share of questions whose likeliest next token is the answer
  double loss = 0;                            ///< mean -log p(answer)
  std::array<double, 4> accuracy_by_depth{};  ///< by the quarter of the context that has the answer, oldest first
};
/// On `count` sequences of this setting, drawn from `random`. Every rank calls it (examples/training/ranks.h).
Score evaluate(const difftensor::models::LanguageModel& model, const Retrieval& setting, int64_t count,
               difftensor::Random random);

/// How a head's attention weights are made to add up to 1, before its mass is taken. A map A1 - lambda A2 has rows that
/// add up to 1 - lambda, and negative weights:
///   signed    a / max(sum(a), 0.001): noise of both signs cancels, and mass can be negative or above 1. Where lambda is
///             near 1 or above it, the row's sum is next to nothing or negative, and this says little.
///   absolute  |a| / sum(|a|): nothing cancels
/// For softmax both are the same. The paper does not say which is its own (arXiv 2410.05258, table 3).
enum class Normalisation { signed_sum, absolute };

/// Where the rows that must answer look, as means over questions, of one layer. Answer: the value asked for. Noise: all
/// else, but the three tokens before that value, among which its key is, and the query's last four, which ask.
struct Mass {
  double answer = 0, noise = 0;            ///< means over heads
  double best_answer = 0, best_noise = 0;  ///< of the head with the most mass on the answer
};

/// Of a call of attention() on these questions, as traced.
Mass attention_mass(const difftensor::nn::AttentionTrace& trace, const Questions& questions,
                    Normalisation normalisation);

/// Largest magnitudes: the first, second, third, tenth and hundredth largest, and the median (as the paper's table 5).
using Outliers = std::array<double, 6>;
Outliers outliers(std::vector<float> values);
/// All scores q . k / sqrt(d) that a causal map has, those of every head.
std::vector<float> attention_logits(const difftensor::nn::AttentionTrace& trace, int64_t head_width);

/// All that is told of a trained model besides its accuracy, a value for each layer: lambda (mean over tokens and heads;
/// none in softmax), mass by both normalisations, outliers of attention logits and of hidden states.
nlohmann::json look_inside(const difftensor::models::LanguageModel& model, const Questions& questions);

}  // namespace needle
