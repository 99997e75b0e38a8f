// What a language model writes: distributions, cuts by hand, streams of random numbers.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>

#include "models/sample.h"
#include "tests/testing.h"

using namespace difftensor;
using models::LanguageModel;
using models::NextToken;
using models::SampleOptions;

namespace {

// A model whose parameters are random, ready to write.
std::unique_ptr<LanguageModel> small_model(int64_t vocab = 23) {
  models::LanguageModelConfig c;
  c.vocab = vocab, c.d_model = 16, c.heads = 2, c.ff = 24, c.layers = 2;
  Random random(5);
  auto model = std::make_unique<LanguageModel>(c, random);
  model->eval();
  return model;
}

// "2 0.5, 0 0.25": tokens with their probabilities, likeliest first.
std::string candidates(const std::vector<Scalar>& logits, const SampleOptions& options) {
  std::string text;
  char number[32];
  for (const NextToken& c : models::candidates(logits.data(), static_cast<int64_t>(logits.size()), options)) {
    std::snprintf(number, sizeof number, "%s%d %.4g", text.empty() ? "" : ", ", c.token, c.probability);
    text += number;
  }
  return text;
}

const std::vector<std::vector<int32_t>> prompts{{5, 6, 7, 2}, {9}, {4, 4, 8, 10, 2, 3, 3}, {5, 6, 7, 2}};

}  // namespace

TEST_CASE("what may come next, by hand") {
  // log 1/8, 1/2, 1/16, 1/4, 1/16, and a number that softmax does not see
  std::vector<Scalar> logits;
  for (double p : {0.125, 0.5, 0.0625, 0.25, 0.0625}) logits.push_back(static_cast<Scalar>(std::log(p) + 100));
  CHECK(candidates(logits, {}) == "1 0.5, 3 0.25, 0 0.125, 2 0.0625, 4 0.0625");
  CHECK(candidates(logits, {.temperature = 0}) == "1 1");
  // Squares of probabilities: 64, 16, 4, 1 and 1 of 86.
  CHECK(candidates(logits, {.temperature = 0.5}) == "1 0.7442, 3 0.186, 0 0.04651, 2 0.01163, 4 0.01163");
  CHECK(candidates(logits, {.top_k = 2}) == "1 0.6667, 3 0.3333");
  CHECK(candidates(logits, {.top_k = 4}) == "1 0.5333, 3 0.2667, 0 0.1333, 2 0.06667");  // of equals the lower id
  CHECK(candidates(logits, {.top_k = 99}) == candidates(logits, {}));
  CHECK(candidates(logits, {.top_p = 0.01}) == "1 1");
  CHECK(candidates(logits, {.top_p = 0.49}) == "1 1");
  CHECK(candidates(logits, {.top_p = 0.51}) == "1 0.6667, 3 0.3333");
  CHECK(candidates(logits, {.top_p = 0.7}) == "1 0.6667, 3 0.3333");
  CHECK(candidates(logits, {.top_p = 0.8}) == "1 0.5714, 3 0.2857, 0 0.1429");
  CHECK(candidates(logits, {.top_p = 0.99}) == candidates(logits, {}));
  // top_p is of what top_k has left: 0.6 of 4/7, 2/7, 1/7 is reached by two.
  CHECK(candidates(logits, {.top_k = 3, .top_p = 0.6}) == "1 0.6667, 3 0.3333");
  CHECK(candidates(logits, {.top_k = 3, .top_p = 0.9}) == "1 0.5714, 3 0.2857, 0 0.1429");
  // Temperature comes first: at 2 the square roots of the probabilities are to pass 0.6.
  CHECK(candidates(logits, {.temperature = 2, .top_p = 0.6}) == "1 0.4531, 3 0.3204, 0 0.2265");
  CHECK(candidates({0, -INFINITY, 0}, {.temperature = 3}) == "0 0.5, 2 0.5, 1 0");
  CHECK(candidates({0, -1}, {.temperature = 1e-300}) == "0 1, 1 0");
}

TEST_CASE("tokens are drawn as often as the model says (chi-square)") {
  const auto made = small_model(11);
  const LanguageModel& model = *made;
  const int64_t drawn = 20000;
  for (const SampleOptions& like :
       {SampleOptions{}, SampleOptions{.temperature = 0.5}, SampleOptions{.top_k = 4}, SampleOptions{.top_p = 0.7}}) {
    SampleOptions options = like;
    options.max_tokens = 1;
    std::map<int32_t, int64_t> counts;
    for (const auto& text : models::sample(model, std::vector<std::vector<int32_t>>(drawn, {3, 1, 4}), options))
      ++counts[text.at(0)];
    const Tensor logits = slice(model({3, 1, 4}, {3}), 0, 2, 3);
    double chi_square = 0;
    const std::vector<NextToken> expected = models::candidates(logits.data(), 11, options);
    for (const NextToken& c : expected) {
      const double mean = c.probability * static_cast<double>(drawn), count = static_cast<double>(counts[c.token]);
      chi_square += (count - mean) * (count - mean) / mean;
      counts.erase(c.token);
    }
    CHECK(counts.empty());  // nothing else was drawn
    const double freedom = static_cast<double>(expected.size()) - 1;
    CAPTURE(chi_square);
    CHECK(chi_square < freedom + 4 * std::sqrt(2 * freedom));  // its mean, and four standard deviations
  }
}

TEST_CASE("greedy: the likeliest token each time, as without a cache; a window starts again with its later half") {
  const auto made = small_model();
  const LanguageModel& model = *made;
  const NoGrad no_grad;
  for (const int64_t window : {0, 6}) {
    const auto found = models::sample(model, prompts, {.temperature = 0, .max_tokens = 12, .window = window});
    for (size_t i = 0; i < prompts.size(); ++i) {
      std::vector<int32_t> text = prompts[i];
      while (text.size() < prompts[i].size() + 12) {
        int64_t begin = 0;  // windows of 6 begin at 0, 3, 6, ...
        while (window && static_cast<int64_t>(text.size()) - begin > window) begin += 3;
        const std::vector<int32_t> seen(text.begin() + begin, text.end());
        const auto T = static_cast<int64_t>(seen.size());
        const Tensor logits = slice(model(seen, {T}), 0, T - 1, T);
        text.push_back(models::candidates(logits.data(), 23, {.temperature = 0}).at(0).token);
      }
      CHECK(found[i] == std::vector<int32_t>(text.begin() + static_cast<int64_t>(prompts[i].size()), text.end()));
    }
  }
}

TEST_CASE("a window that no text fills is as none, and takes no memory") {
  const auto made = small_model();
  const SampleOptions options{.temperature = 1.5, .max_tokens = 20};
  SampleOptions wide = options;
  wide.window = std::numeric_limits<int64_t>::max();
  CHECK(models::sample(*made, prompts, wide) == models::sample(*made, prompts, options));
}

TEST_CASE("texts that end take the memory that they need, not that of the longest there may be") {
  const auto made = small_model();
  SampleOptions options{.temperature = 1.5, .max_tokens = 2000, .end = 3};
  const auto texts = models::sample(*made, prompts, options);
  CHECK(std::all_of(texts.begin(), texts.end(), [](auto& text) { return text.size() < 2000; }));
  options.max_tokens = int64_t{1} << 40;
  CHECK(models::sample(*made, prompts, options) == texts);
}

TEST_CASE("a text depends on seed, index and prompt, not on its neighbours or the number of threads") {
  const auto made = small_model();
  const LanguageModel& model = *made;
  const SampleOptions options{.temperature = 1.5, .max_tokens = 20};
  const auto together = models::sample(model, prompts, options);
  CHECK(together[0] != together[3]);  // the same prompt, another index
  CHECK(models::sample(model, {prompts[0]}, options)[0] == together[0]);
  CHECK(models::sample(model, {{1, 2}, prompts[1]}, options)[1] == together[1]);
  SampleOptions other = options;
  other.seed = 2;
  CHECK(models::sample(model, prompts, other) != together);
  for (const int n : {1, 2, 3}) {
    const Threads threads(n);
    CHECK(models::sample(model, prompts, options) == together);
  }
  std::vector<std::vector<int32_t>> told(prompts.size());
  models::sample(model, prompts, options, [&](size_t i, int32_t token) { told[i].push_back(token); });
  CHECK(told == together);
}

TEST_CASE("a text ends before the end token, and then leaves the batch") {
  const auto made = small_model(5);
  const LanguageModel& model = *made;
  SampleOptions options{.temperature = 2, .max_tokens = 30};
  const std::vector<std::vector<int32_t>> from{{1}, {2, 3}, {4}};
  const auto endless = models::sample(model, from, options);
  options.end = 0;
  const auto ended = models::sample(model, from, options);
  for (size_t i = 0; i < 3; ++i) {
    const auto end = std::find(endless[i].begin(), endless[i].end(), 0);
    CHECK(endless[i].size() == 30);
    CHECK(ended[i] == std::vector<int32_t>(endless[i].begin(), end));
  }
  CHECK(models::sample(model, {{1}}, {})[0].size() == 100);
  options.max_tokens = 0;
  CHECK(models::sample(model, {{1}}, options) == std::vector<std::vector<int32_t>>{{}});
  CHECK(models::sample(model, {}, options).empty());
}

TEST_CASE("sampling refuses what makes no sense") {
  const auto made = small_model();
  LanguageModel& model = *made;
  const auto refusal = [&](SampleOptions options, std::vector<std::vector<int32_t>> from = {{1}}) {
    if (options.max_tokens == SampleOptions().max_tokens) options.max_tokens = 2;
    return error_of([&] { models::sample(model, from, options); });
  };
  CHECK(refusal({}) == "no error");
  CHECK(refusal({.temperature = -1}) == "sample: temperature -1 must be finite and not negative");
  CHECK(refusal({.temperature = INFINITY}) == "sample: temperature inf must be finite and not negative");
  CHECK(contains(refusal({.temperature = NAN}), "must be finite and not negative"));
  CHECK(refusal({.top_k = -1}) == "sample: top_k -1 must not be negative");
  CHECK(refusal({.top_p = 0}) == "sample: top_p 0 must be above 0 and at most 1");
  CHECK(refusal({.top_p = 1.5}) == "sample: top_p 1.5 must be above 0 and at most 1");
  CHECK(contains(refusal({.top_p = NAN}), "must be above 0 and at most 1"));
  CHECK(refusal({.max_tokens = -1}) == "sample: max_tokens -1 must be from 0 to 2^40");
  CHECK(contains(refusal({.max_tokens = std::numeric_limits<int64_t>::max()}), "must be from 0 to 2^40"));
  CHECK(refusal({.window = 1}) == "sample: window 1 must be at least 2, or 0 for none");
  CHECK(refusal({}, {{1}, {}}) == "sample: prompt 1 is empty: there must be a token to begin after");
  CHECK(contains(refusal({}, {{23}}), "23"));
  model.train();
  CHECK(refusal({}) == "sample: the model is in training mode: call eval() first");
  model.eval();
  const std::vector<Scalar> nan{0, Scalar(NAN)}, none{-INFINITY, -INFINITY};
  CHECK(contains(error_of([&] { candidates(nan, {}); }), "scores are not finite"));
  CHECK(contains(error_of([&] { candidates(none, {}); }), "scores are not finite"));
}
