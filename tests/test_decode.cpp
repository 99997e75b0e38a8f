// Decoding: greedy and beam search, by their rules.
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "core/ops.h"
#include "models/decode.h"
#include "tests/small_model.h"
#include "tests/testing.h"

using namespace difftensor;
using models::AttentionKind;
using models::Style;

namespace {
// log P of a whole translation with its end, computed without a cache.
double log_probability(const models::Transformer& model, const std::vector<int32_t>& from,
                       std::vector<int32_t> tokens) {
  std::vector<int32_t> in{1};
  in.insert(in.end(), tokens.begin(), tokens.end());
  tokens.push_back(2);
  const Tensor log_p =
      log_softmax(model(from, {static_cast<int64_t>(from.size())}, in, {static_cast<int64_t>(in.size())}));
  double total = 0;
  for (size_t i = 0; i < tokens.size(); ++i) total += log_p.data()[static_cast<int64_t>(i) * log_p.dim(1) + tokens[i]];
  return total;
}

// The best translation of at most `limit` tokens (EOS counted), by trying all of them.
std::pair<double, std::vector<int32_t>> exhaustive(const models::Transformer& model, const std::vector<int32_t>& from,
                                                   std::vector<int32_t> so_far, size_t limit, double alpha) {
  std::pair<double, std::vector<int32_t>> best{
      log_probability(model, from, so_far) / std::pow(static_cast<double>(so_far.size() + 1), alpha), so_far};
  if (so_far.size() + 1 == limit) return best;
  for (int32_t word = 0; word < model.config.vocab; ++word) {
    if (word == 2) continue;
    std::vector<int32_t> longer = so_far;
    longer.push_back(word);
    best = std::max(best, exhaustive(model, from, longer, limit, alpha));
  }
  return best;
}
}  // namespace

TEST_CASE("greedy search takes the likeliest word each time; batched or not") {
  every_model([](const models::TransformerConfig& config) {
    Random random(6);
    models::Transformer model(config, random);
    model.eval();
    NoGrad no_grad;
    const std::vector<std::vector<int32_t>> sources{{5, 6, 7, 2}, {9, 2}, {4, 4, 8, 10, 2}};
    const auto found = models::decode(model, sources);
    models::DecodeOptions one_by_one;
    one_by_one.batch_size = 1;
    const auto alone = models::decode(model, sources, one_by_one);
    models::DecodeOptions all_at_once;
    all_at_once.batch_size = std::numeric_limits<int64_t>::max();
    const auto together = models::decode(model, sources, all_at_once);
    for (size_t i = 0; i < sources.size(); ++i) {
      std::vector<int32_t> tokens{1};
      const size_t limit = sources[i].size() * 3 / 2 + 10;
      while (tokens.size() <= limit) {
        const Tensor logits =
            model(sources[i], {static_cast<int64_t>(sources[i].size())}, tokens, {static_cast<int64_t>(tokens.size())});
        const Scalar* last = logits.data() + (static_cast<int64_t>(tokens.size()) - 1) * config.vocab;
        const int32_t word = static_cast<int32_t>(std::max_element(last, last + config.vocab) - last);
        if (word == 2) break;
        tokens.push_back(word);
      }
      tokens.erase(tokens.begin());
      CHECK(found[i].at(0).tokens == tokens);
      CHECK(alone[i].at(0).tokens == tokens);
      CHECK(together[i].at(0).tokens == tokens);
    }
  });
}

TEST_CASE("translations and their scores have the same bits at any number of threads") {
  Random random(12);
  std::vector<std::vector<int32_t>> sources(20);
  for (auto& source : sources) {
    for (int64_t left = 1 + static_cast<int64_t>(random.below(9)); left > 0; --left)
      source.push_back(3 + static_cast<int32_t>(random.below(8)));
    source.push_back(2);
  }
  for (const AttentionKind kind : {AttentionKind::softmax, AttentionKind::diff, AttentionKind::diff_v2}) {
    models::Transformer model(small_config(kind, Style::llama), random);
    model.eval();
    for (const int beam : {1, 3}) {
      models::DecodeOptions options;
      options.beam = options.n_best = beam, options.batch_size = 3;
      const auto all = [&](int threads) {
        const Threads scope(threads);
        std::vector<std::pair<std::vector<int32_t>, double>> found;
        for (const auto& best : models::decode(model, sources, options))
          for (const models::Hypothesis& h : best) found.emplace_back(h.tokens, h.score);
        return found;
      };
      const auto alone = all(1);
      for (const int threads : {2, 3, 5, 16}) CHECK(all(threads) == alone);
    }
  }
}

TEST_CASE("a beam as wide as the search space finds the best of all translations") {
  auto config = small_config(AttentionKind::diff, Style::llama);
  config.vocab = 5;
  for (uint64_t seed : {1, 2, 3})
    for (double alpha : {0.0, 0.6, 1.0}) {
      Random random(seed);
      models::Transformer model(config, random);
      model.eval();
      NoGrad no_grad;
      const std::vector<int32_t> from{3, 4, 2};
      models::DecodeOptions options;
      options.beam = options.n_best = 300;
      options.length_penalty = alpha;
      options.max_length_factor = 0;
      options.max_length_extra = 4;
      const auto found = models::decode(model, {from}, options).at(0);
      const auto [score, tokens] = exhaustive(model, from, {}, 4, alpha);
      CAPTURE(seed);
      CAPTURE(alpha);
      CHECK(found.at(0).tokens == tokens);
      CHECK(found.at(0).score == doctest::Approx(score).epsilon(1e-5));
      for (size_t i = 1; i < found.size(); ++i) CHECK(found[i - 1].score >= found[i].score);
    }
}

namespace {
// log P of each word that may follow the tokens so far, computed without a cache.
std::vector<double> next_log_p(const models::Transformer& model, const std::vector<int32_t>& from,
                               const std::vector<int32_t>& so_far) {
  std::vector<int32_t> in{1};
  in.insert(in.end(), so_far.begin(), so_far.end());
  const auto length = static_cast<int64_t>(in.size());
  const Tensor last = slice(model(from, {static_cast<int64_t>(from.size())}, in, {length}), 0, length - 1, length);
  const std::vector<Scalar> log_p = log_softmax(last).values();
  return {log_p.begin(), log_p.end()};
}

// The rules of models/decode.h, word for word, without a cache, a bound or a batch: every step looks at all words after
// every open hypothesis, and no sentence is done before its longest translations are. All that ended, the best first.
std::vector<models::Hypothesis> beam_search(const models::Transformer& model, const std::vector<int32_t>& from,
                                            const models::DecodeOptions& o) {
  const int64_t limit = o.max_length(static_cast<int64_t>(from.size()));
  const auto beam = static_cast<size_t>(o.beam);
  const auto score = [&](double log_p, int64_t length) {
    return log_p / std::pow(static_cast<double>(length), o.length_penalty);
  };
  struct Scored {
    std::vector<int32_t> tokens;
    double log_p;
  };
  std::vector<Scored> open{{{}, 0}};
  std::vector<models::Hypothesis> ended;
  for (int64_t length = 1; length <= limit; ++length) {
    std::vector<Scored> candidates;
    for (const Scored& hypothesis : open) {
      const std::vector<double> log_p = next_log_p(model, from, hypothesis.tokens);
      for (int32_t word = 0; word < model.config.vocab; ++word) {
        candidates.push_back({hypothesis.tokens, hypothesis.log_p + log_p[word]});
        candidates.back().tokens.push_back(word);
      }
    }
    std::stable_sort(candidates.begin(), candidates.end(), [](auto& a, auto& b) { return a.log_p > b.log_p; });
    open.clear();
    for (size_t rank = 0; open.size() < beam; ++rank) {
      Scored& c = candidates.at(rank);
      if (c.tokens.back() != o.eos) {
        open.push_back(c);
      } else if (rank < beam) {
        c.tokens.pop_back();
        ended.push_back({c.tokens, score(c.log_p, length)});
      }
    }
  }
  if (ended.empty())
    for (const Scored& hypothesis : open) ended.push_back({hypothesis.tokens, score(hypothesis.log_p, limit)});
  std::stable_sort(ended.begin(), ended.end(), [](auto& a, auto& b) { return a.score > b.score; });
  return ended;
}
}  // namespace

TEST_CASE("beam search follows its rules") {
  auto config = small_config(AttentionKind::diff, Style::llama);
  config.vocab = 8, config.encoder_layers = config.decoder_layers = 1;
  const std::vector<int32_t> from{3, 4, 2};
  int full = 0, searches = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    Random random(seed);
    models::Transformer model(config, random);
    for (auto& [name, parameter] : model.named_parameters())  // half of the models have strong opinions
      if (name == "embedding.weight" && seed % 2)
        for (Scalar *x = Tensor(parameter).data(), *end = x + parameter.numel(); x < end; ++x)
          *x *= Scalar(seed % 4 == 1 ? 4 : 2);
    model.eval();
    NoGrad no_grad;
    const std::vector<double> first = next_log_p(model, from, {});
    std::vector<int32_t> likeliest(config.vocab);
    std::iota(likeliest.begin(), likeliest.end(), 0);
    std::sort(likeliest.begin(), likeliest.end(), [&](int32_t a, int32_t b) { return first[a] > first[b]; });
    for (int beam : {2, 3, 4})
      for (int rank : {1, 3, 7}) {  // the word that ends a translation is so likely to begin one
        models::DecodeOptions options;
        options.beam = beam, options.eos = likeliest[rank], options.length_penalty = static_cast<double>(seed % 3) / 2;
        options.max_length_factor = 1, options.max_length_extra = 5;
        const auto expected = beam_search(model, from, options);
        CAPTURE(seed);
        CAPTURE(beam);
        CAPTURE(rank);
        for (int n_best = 1; n_best <= beam; ++n_best) {
          options.n_best = n_best;
          const auto found = models::decode(model, {from}, options).at(0);
          CAPTURE(n_best);
          REQUIRE(found.size() == std::min(expected.size(), static_cast<size_t>(n_best)));
          std::set<std::vector<int32_t>> listed;
          for (size_t k = 0; k < found.size(); ++k) {
            CHECK(found[k].score == doctest::Approx(expected[k].score).epsilon(1e-5));
            CHECK(listed.insert(found[k].tokens).second);
            // Where scores differ by no more than their rounding, either may come first, or be left out.
            CHECK(std::any_of(expected.begin(), expected.end(), [&](const models::Hypothesis& e) {
              const double tie = 2e-7 * std::abs(e.score);
              return e.tokens == found[k].tokens && std::abs(e.score - expected[k].score) <= tie;
            }));
          }
        }
        ++searches, full += expected.size() >= static_cast<size_t>(beam);
      }
  }
  CHECK(full > searches / 2);  // searches that end early, and those that find too few ends, are among them
  CHECK(full < searches);
}

TEST_CASE("of equally likely words, those with the lower ids are taken") {
  models::TransformerConfig config;
  config.vocab = 600, config.d_model = 16, config.heads = 2, config.ff = 24;
  config.encoder_layers = config.decoder_layers = 1;
  Random random(1);
  models::Transformer model(config, random);
  for (Tensor parameter : model.parameters())  // all logits are 0
    std::fill_n(parameter.data(), parameter.numel(), Scalar{0});
  model.eval();
  models::DecodeOptions options;
  options.max_length_factor = 0, options.max_length_extra = 3, options.eos = 1;
  CHECK(models::decode(model, {{5, 2}}, options).at(0).at(0).tokens == std::vector<int32_t>{0, 0, 0});
  // Two open hypotheses. The best that end are (), ranked second at the first step, and (0), second at the second.
  options.beam = options.n_best = 2, options.length_penalty = 0.5;
  const auto found = models::decode(model, {{5, 2}}, options).at(0);
  REQUIRE(found.size() == 2);
  CHECK(found[0].tokens.empty());
  CHECK(found[1].tokens == std::vector<int32_t>{0});
  CHECK(found[0].score == doctest::Approx(-std::log(600.0)));
  CHECK(found[1].score == doctest::Approx(-std::sqrt(2.0) * std::log(600.0)));
}

TEST_CASE("decoding refuses a model in training mode, translations of no length, and more than the beam has") {
  Random random(1);
  models::Transformer model(small_config(AttentionKind::diff, Style::llama), random);
  CHECK_THROWS_WITH(models::decode(model, {{5, 2}}), "decode: the model is in training mode: call eval() first");
  model.eval();
  models::DecodeOptions options;
  options.max_length_factor = 0, options.max_length_extra = 0;
  CHECK_THROWS_WITH(models::decode(model, {{5, 2}}, options),
                    "decode: translations of at most 0 times the source and 0 tokens");
  for (const int64_t extra : {int64_t{1000001}, std::numeric_limits<int64_t>::max()}) {
    options = {.max_length_extra = extra};
    CHECK_THROWS_WITH(
        models::decode(model, {{5, 2}}, options),
        ("decode: translations of at most 1.5 times the source and " + std::to_string(extra) + " tokens").c_str());
  }
  options = {.max_length_factor = 2, .max_length_extra = 0};  // of a source without a token, too, EOS is there
  const std::vector<std::vector<int32_t>> none(1);
  CHECK(models::decode(model, none, options).at(0).at(0).tokens.size() <= 1);
  options = {.beam = 2'000'000'000};
  CHECK_THROWS_WITH(models::decode(model, {{5, 2}}, options), "decode: beam 2000000000 is more than 1000000");
  options = {.length_penalty = 31};
  CHECK_THROWS_WITH(models::decode(model, {{5, 2}}, options), "decode: length penalty 31 must be from 0 to 30");
  options = {.beam = 2, .n_best = 3};
  CHECK_THROWS_WITH(models::decode(model, {{5, 2}}, options), "decode: the 3 best translations of beam 2");
}
