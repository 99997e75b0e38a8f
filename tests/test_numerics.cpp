// Everything made of softmax, where float runs out of digits: large offsets, sure predictions, values that are no
// numbers. The reference is the definition, in long double.
#include <functional>
#include <limits>
#include <vector>

#include "core/ops.h"
#include "models/decode.h"
#include "tests/testing.h"

using namespace difftensor;

namespace {
constexpr Scalar infinity = std::numeric_limits<Scalar>::infinity(),
                 not_a_number = std::numeric_limits<Scalar>::quiet_NaN();
constexpr double eps = std::numeric_limits<Scalar>::epsilon();
constexpr Scalar offsets[] = {0, 1e4, 1e6, 1e8, -1e8, Scalar(3e38)};
using Exact = std::vector<long double>;

Exact exact_log_softmax(const std::vector<Scalar>& x) {
  const long double top = *std::max_element(x.begin(), x.end());
  const auto target = std::max_element(x.begin(), x.end());
  long double rest = 0;
  for (auto i = x.begin(); i != x.end(); ++i) rest += i == target ? 0 : std::exp(static_cast<long double>(*i) - top);
  Exact y;
  for (Scalar v : x) y.push_back(static_cast<long double>(v) - top - std::log1p(rest));
  return y;
}
// The largest |a_i - b_i| / |b_i|: digits count, however small b_i.
double relative_error(const Tensor& a, const Exact& b) {
  REQUIRE(a.numel() == static_cast<int64_t>(b.size()));
  double worst = 0;
  for (int64_t i = 0; i < a.numel(); ++i)
    if (const long double x = a.data()[i]; x != b[i])
      worst = worse(worst, static_cast<double>(std::abs(x - b[i]) / std::abs(b[i])));
  return worst;
}
Tensor row(const std::vector<Scalar>& x) { return tensor(x, {1, static_cast<int64_t>(x.size())}); }
void fill(Tensor t, Scalar value) { std::fill_n(t.data(), t.numel(), value); }
Tensor parameter(Tensor t) { return t.requires_grad(), t; }
// What a loss made of one row of logits is, with its gradient; from logits, and from a layer that computes them.
struct Result {
  Scalar loss;
  Tensor gradient;
};
Result from_logits(const std::vector<Scalar>& x, int32_t target, const CrossEntropyOptions& options = {}) {
  Tensor logits = parameter(row(x)), loss = cross_entropy(logits, {target}, options);
  loss.backward();
  return {loss.item(), logits.grad()};
}
Result from_layer(const std::vector<Scalar>& x, int32_t target, const CrossEntropyOptions& options = {}) {
  Tensor weight = parameter(tensor(x, {static_cast<int64_t>(x.size()), 1}));
  Tensor loss = linear_cross_entropy(ones({1, 1}), weight, {target}, options);
  loss.backward();
  return {loss.item(), weight.grad()};
}
Result from_log_softmax(const std::vector<Scalar>& x, int32_t target, const CrossEntropyOptions& = {}) {
  Tensor logits = parameter(row(x)), loss = -sum(slice(log_softmax(logits), 1, target, target + 1));
  loss.backward();
  return {loss.item(), logits.grad()};
}
const auto losses = {from_logits, from_layer, from_log_softmax};
}  // namespace

TEST_SUITE("numerics") {
  TEST_CASE("an offset of all logits changes no loss and no gradient") {
    for (const auto& loss : losses)
      for (const Scalar c : offsets) {
        CAPTURE(c);
        const std::vector<Scalar> x{c, c, c - 1};
        const Exact log_p = exact_log_softmax(x);
        const Result result = loss(x, 1, {});
        CHECK(std::abs(result.loss + log_p[1]) < 2 * eps);
        CHECK(relative_error(result.gradient, {std::exp(log_p[0]), std::expm1(log_p[1]), std::exp(log_p[2])}) <
              8 * eps);
        const Tensor p = softmax(row(x));
        CHECK(relative_error(p, {std::exp(log_p[0]), std::exp(log_p[1]), std::exp(log_p[2])}) < 4 * eps);
      }
    CHECK(from_logits({0, 0, -1}, 0).loss == doctest::Approx(0.8619948).epsilon(1e-6));
  }

  TEST_CASE("softmax and its kin are the same for x and x + c") {
    Random random(7);
    for (const int64_t width : {3, 40, 1500})
      for (const Scalar c : {Scalar(1024), Scalar(-65536), Scalar(1 << 20)}) {
        Tensor x({4, width});  // multiples of 1/4: x + c is exact
        for (int64_t i = 0; i < x.numel(); ++i) x.data()[i] = static_cast<Scalar>(random.below(80)) / 4;
        const Tensor seed = randn(x.shape(), random);
        std::vector<int32_t> targets;
        for (int i = 0; i < 4; ++i) targets.push_back(static_cast<int32_t>(random.below(width)));
        const auto same = [&](const std::function<Tensor(const Tensor&)>& f) {
          const Tensor a = parameter(x.clone()), b = parameter((x + c).detach());
          const Tensor fa = f(a), fb = f(b);
          CHECK(largest_difference(fa, fb) == 0);
          sum(fa).backward(), sum(fb).backward();
          CHECK(largest_difference(a.grad(), b.grad()) == 0);
        };
        same([&](const Tensor& x) { return softmax(x, Scalar(0.3)) * seed; });
        same([&](const Tensor& x) { return log_softmax(x) * seed; });
        same([&](const Tensor& x) { return cross_entropy(x, targets, {.label_smoothing = Scalar(0.1)}); });
        // and an offset of what comes in backward: softmax's gradient is blind to it
        const Tensor a = parameter(x.clone()), b = parameter(x.clone());
        Tensor upstream({4, width});
        for (int64_t i = 0; i < x.numel(); ++i) upstream.data()[i] = static_cast<Scalar>(random.below(9));
        softmax(a).backward(upstream), softmax(b).backward((upstream + c).detach());
        CHECK(largest_difference(a.grad(), b.grad()) == 0);
      }
  }

  TEST_CASE("the largest of a row is found wherever it stands: beside it the others vanish") {
    for (const int64_t n : {5, 70, 150})
      for (int64_t top = 0; top < n; ++top) {
        Tensor x = zeros({1, n}), one_hot = zeros({1, n});
        x.data()[top] = 1e4, one_hot.data()[top] = 1;
        CHECK(softmax(x).values() == one_hot.values());
        CHECK(cross_entropy(x, {static_cast<int32_t>(top)}).item() == 0);
      }
  }

  TEST_CASE("attention is the same for scores s and s + c") {
    const AttentionLayout layout{1, packed_spans({2, 3}), packed_spans({2, 3}), true};
    Random random(3);
    // A second feature, 1 in every query and c in every key, adds c to every score.
    const auto run = [&](bool plain, bool difference, Scalar c) {
      Random values(5);
      const int64_t maps = difference ? 2 : 1;
      Tensor q({5, 2 * maps}), k({5, 2 * maps}), v = parameter(rand({5, 3}, values));
      for (int64_t i = 0; i < q.numel(); i += 2) {
        q.data()[i] = static_cast<Scalar>(values.below(8)), k.data()[i] = static_cast<Scalar>(values.below(8));
        q.data()[i + 1] = 1, k.data()[i + 1] = c;
      }
      q.requires_grad(), k.requires_grad();
      const Tensor out = difference
                             ? (plain ? plain_diff_attention : diff_attention)(q, k, v, scalar(Scalar(0.5)), layout)
                             : (plain ? plain_attention : attention)(q, k, v, layout);
      sum(out * out).backward();
      return std::vector<Tensor>{out, v.grad(), k.grad()};
    };
    for (const bool plain : {false, true})
      for (const bool difference : {false, true})
        for (const Scalar c : {Scalar(1e4), Scalar(1 << 20)}) {
          CAPTURE(plain);
          const auto a = run(plain, difference, 0), b = run(plain, difference, c);
          for (size_t i = 0; i < a.size(); ++i) CHECK(largest_difference(a[i], b[i]) == 0);
        }
  }

  TEST_CASE("the loss of a sure right answer does not round to 0") {
    for (const auto& loss : losses)
      for (const Scalar sure : {Scalar(5), Scalar(20), Scalar(40), Scalar(80)}) {
        CAPTURE(sure);
        const std::vector<Scalar> x{0, sure, 1};
        const Exact log_p = exact_log_softmax(x);
        const Result result = loss(x, 1, {});
        CHECK(std::abs(result.loss / -log_p[1] - 1) < 8 * eps);
        CHECK(relative_error(result.gradient, {std::exp(log_p[0]), std::expm1(log_p[1]), std::exp(log_p[2])}) <
              (8 + sure) * eps);
      }
    const Tensor x = parameter(row({0, 20})), p = softmax(x);
    p.backward(row({0, 1}));
    const long double slope = std::exp(-20.0L) / std::pow(1 + std::exp(-20.0L), 2.0L);
    CHECK(relative_error(x.grad(), {-slope, slope}) < 8 * eps);
  }

  TEST_CASE("label smoothing far from 0") {
    for (const Scalar c : offsets) {
      CAPTURE(c);
      std::vector<Scalar> x;
      for (int i = 0; i < 700; ++i) x.push_back(c - static_cast<Scalar>(i % 13));
      const Exact log_p = exact_log_softmax(x);
      const CrossEntropyOptions options{.label_smoothing = Scalar(0.1)};
      const long double s = options.label_smoothing;
      long double expected = -(1 - s) * log_p[5];
      for (const long double l : log_p) expected -= s / 700 * l;
      CHECK(std::abs(from_logits(x, 5, options).loss / expected - 1) < 4 * eps);
      CHECK(std::abs(from_layer(x, 5, options).loss / expected - 1) < 4 * eps);
    }
  }

  TEST_CASE("a million classes") {
    const int64_t V = 1 << 20;
    Random random(1);
    const Tensor x = rand({1, V}, random, -1, 0);
    const Exact log_p = exact_log_softmax({x.data(), x.data() + V});
    CHECK(std::abs(cross_entropy(x, {17}).item() / -log_p[17] - 1) < 2 * eps);
    CHECK(std::abs(from_logits(std::vector<Scalar>(V, 4), 3).loss - std::log(static_cast<double>(V))) < 16 * eps);
  }

  TEST_CASE("logits that are no numbers give losses that are none") {
    for (const auto& loss : losses)
      for (const std::vector<Scalar>& x : std::vector<std::vector<Scalar>>{{0, not_a_number, 1},
                                                                           {not_a_number, not_a_number, not_a_number},
                                                                           {0, infinity, 1},
                                                                           {-infinity, not_a_number, 0},
                                                                           {-infinity, -infinity, -infinity}}) {
        const Result result = loss(x, 0, {});
        CHECK(std::isnan(result.loss));
        for (int i : {0, 1, 2}) CHECK(!std::isfinite(result.gradient.data()[i]));
        if (x[0] != -infinity || std::isnan(x[1])) CHECK(std::isnan(softmax(row(x)).data()[2]));
      }
    CHECK(from_logits({0, -infinity}, 1).loss == infinity);
    CHECK(from_logits({0, -infinity}, 0).loss == 0);
    CHECK(softmax(row({-infinity, -infinity})).data()[0] == 0);
    CHECK(softmax(row({-infinity, Scalar(3e38), Scalar(-3e38)})).data()[1] == 1);
  }

  TEST_CASE("plain attention takes the empty sentences that the fused one takes") {
    Random random(2);
    for (const auto& lengths : std::vector<std::pair<std::vector<int64_t>, std::vector<int64_t>>>{
             {{2, 0, 3}, {4, 0, 1}}, {{2, 0}, {0, 3}}, {{0}, {0}}, {{0, 0}, {2, 1}}, {{}, {}}, {{3}, {0}}})
      for (const bool causal : {false, true})
        for (const int heads : {1, 2}) {
          const auto &from = lengths.first, &to = lengths.second;
          const AttentionLayout layout{heads, packed_spans(from), packed_spans(to), causal};
          const auto rows = [](const std::vector<int64_t>& of) {
            int64_t sum = 0;
            for (const int64_t n : of) sum += n;
            return sum;
          };
          const auto gradients = [&](bool plain, bool difference) {
            Random values(9);
            const Tensor q = parameter(randn({rows(from), 8}, values)), k = parameter(randn({rows(to), 8}, values));
            const Tensor v = parameter(randn({rows(to), 6}, values));
            const Tensor lambda = parameter(rand({rows(from), heads}, values));
            const Tensor out = difference ? (plain ? plain_diff_attention : diff_attention)(q, k, v, lambda, layout)
                                          : (plain ? plain_attention : attention)(q, k, v, layout);
            sum(out * out).backward();
            std::vector<Tensor> results{out};
            for (const Tensor& t : {q, k, v, lambda})
              results.push_back(t.grad().defined() ? t.grad() : zeros(t.shape()));
            return results;
          };
          for (const bool difference : {false, true}) {
            const auto fused = gradients(false, difference), plain = gradients(true, difference);
            for (size_t i = 0; i < fused.size(); ++i) CHECK(largest_difference(fused[i], plain[i]) < 10 * rounding);
          }
        }
  }

  TEST_CASE("decode's scores do not depend on an offset of the logits") {
    models::TransformerConfig config;
    config.vocab = 23, config.d_model = 16, config.ff = 24, config.encoder_layers = config.decoder_layers = 1;
    config.style = models::Style::vaswani;
    Random random(6);
    models::Transformer model(config, random);
    model.eval();
    // The last norm gives (1, 0, 0, ...) whatever comes in, so that the logits are the embedding's first column.
    auto state = model.state_dict();
    fill(state.at("decoder.layers.0.ffn_norm.weight"), 0), fill(state.at("decoder.layers.0.ffn_norm.bias"), 0);
    state.at("decoder.layers.0.ffn_norm.bias").data()[0] = 1;
    const auto score = [&](Scalar likely, Scalar other) {
      for (int64_t v = 0; v < 23; ++v) state.at("embedding.weight").data()[16 * v] = v == 5 ? likely : other;
      model.load_state_dict(state);
      return models::decode(model, {{4, 2}})[0][0].score;
    };
    for (const Scalar c : {Scalar(0), Scalar(1e4), Scalar(1e6)}) {
      CAPTURE(c);
      CHECK(std::abs(score(c, c - 1) + std::log1p(22 * std::exp(-1.0))) < 8 * eps);
    }
    CHECK(std::abs(score(25, 0) / (-22 * std::exp(-25.0)) - 1) < 4 * eps + 22 * std::exp(-25.0));
    for (const Scalar bad : {not_a_number, infinity})
      CHECK_THROWS_WITH_AS(score(bad, 0), doctest::Contains("not finite"), std::invalid_argument);
  }
}
