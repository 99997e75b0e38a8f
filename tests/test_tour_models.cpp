// Solutions of the exercises in examples/tour, programs 7 to 10.
#include <numeric>

#include "core/parallel_backward.h"
#include "models/decode.h"
#include "models/sample.h"
#include "nn/diff_attention.h"
#include "optim/optimizer.h"
#include "tests/testing.h"

using namespace difftensor;

TEST_CASE("tour 7.1: rows of A1 - lambda A2 sum to 1 - lambda; of one value v, out is (1 - lambda) v") {
  Random random(1);
  const int64_t T = 3, S = 5;
  const Tensor q = randn({T, 4}, random), k = randn({S, 4}, random), v = randn({1, 2}, random);
  const Tensor V = zeros({S, 1}) + v, dout = randn({T, 2}, random);  // S rows, all v
  Tensor lambda = scalar(Scalar(0.3)).requires_grad();
  const Tensor out =
      diff_attention(q, k, V, lambda, {.heads = 1, .queries = {{0, T}}, .keys = {{0, S}}, .causal = false});
  CHECK(largest_difference(out.detach(), zeros({T, 1}) + v * Scalar(0.7)) <= rounding);
  out.backward(dout);
  CHECK(std::abs(lambda.grad().item() - -sum(dout * v).item()) <= 10 * rounding);
}

namespace {
// Finds the one marked digit among up to 30 others, with a layer of differential attention.
struct Finder : nn::Module {
  explicit Finder(Random& random)
      : embedding(add_module<nn::Embedding>("embedding", 20, 32, random)),
        attention(
            add_module<nn::MultiheadDiffAttention>("attention", nn::AttentionConfig{.width = 32, .heads = 2}, random)),
        output(add_module<nn::Linear>("output", 32, 10, true, random)) {}
  // Sentences lie end to end in `ids`. Each one's last token answers: (sentences, 10), a score for each digit.
  Tensor operator()(const std::vector<int32_t>& ids, const nn::Sequences& sentences) const {
    const Tensor x = embedding(ids);
    const Tensor found = x + attention(x, sentences, x, sentences, /*causal=*/true);
    std::vector<int32_t> last;
    for (const Span& s : sentences.spans) last.push_back(static_cast<int32_t>(s.begin + s.length - 1));
    return output(gather_rows(found, last));
  }
  nn::Embedding& embedding;
  nn::MultiheadDiffAttention& attention;
  nn::Linear& output;
};
}  // namespace

TEST_CASE("tour 7.2: 200 updates are enough to find the marked digit, and lambda has grown") {
  Random random(1);
  const Finder model(random);
  optim::AdamW optimizer(model.parameters(), 0.01);
  const Scalar lambda_at_first = model.attention.lambda().item();
  Scalar first = 0, last = 0;
  for (int update = 1; update <= 200; ++update) {
    std::vector<int32_t> ids, answers;
    std::vector<int64_t> lengths;
    for (int sentence = 0; sentence < 32; ++sentence) {
      lengths.push_back(8 + static_cast<int64_t>(random.below(24)));
      const size_t begin = ids.size(), marked = begin + random.below(lengths.back());
      for (int64_t i = 0; i < lengths.back(); ++i) ids.push_back(static_cast<int32_t>(random.below(10)));
      answers.push_back(ids[marked]);
      ids[marked] += 10;  // 10 to 19 are the marked digits
    }
    const Tensor loss = cross_entropy(model(ids, nn::packed_sequences(lengths)), answers);
    (update == 1 ? first : last) = loss.item();
    loss.backward();
    optimizer.step();
    optimizer.zero_grad();
  }
  CHECK(first > 2);  // about log 10: a guess
  CHECK(last < 0.01);
  CHECK(std::abs(lambda_at_first - 0.2) < 0.1);
  CHECK(model.attention.lambda().item() > lambda_at_first + Scalar(0.1));
}

namespace {
constexpr int32_t BOS = 1, EOS = 2;

struct Sorter : models::Transformer {
  explicit Sorter(Random random = Random(1)) : Transformer(settings(), random) {}
  static models::TransformerConfig settings() {
    models::TransformerConfig c;
    c.vocab = 13, c.d_model = 16, c.ff = 32, c.encoder_layers = c.decoder_layers = 1;
    return c;
  }
};

// Trains it to sort five digits; a cheat is given the answer itself, not moved on by one place. The last loss.
Scalar learn_sorting(const models::Transformer& model, bool cheat) {
  optim::AdamW optimizer(model.parameters(), 0.01);
  Random random(2);
  Scalar last = 0;
  for (int update = 0; update < 100; ++update) {
    std::vector<int32_t> source, in, out;
    for (int i = 0; i < 16; ++i) {
      std::vector<int32_t> list(5);
      for (int32_t& token : list) token = 3 + static_cast<int32_t>(random.below(10));
      source.insert(source.end(), list.begin(), list.end());
      std::sort(list.begin(), list.end());
      in.push_back(BOS);
      in.insert(in.end(), list.begin(), list.end());
      out.insert(out.end(), list.begin(), list.end());
      out.push_back(EOS);
    }
    const std::vector<int64_t> from(16, 5), to(16, 6);
    const Tensor loss = model.loss(source, from, cheat ? out : in, to, out);
    last = loss.item();
    loss.backward();
    optimizer.step();
    optimizer.zero_grad();
  }
  return last;
}
}  // namespace

TEST_CASE("tour 8.1: a decoder that is given what it shall say copies it, and has learned nothing") {
  // The loss falls to almost nothing, whatever the source: the answer stands there. In use it does not.
  Sorter cheat, honest;
  CHECK(learn_sorting(cheat, true) < 0.02);
  CHECK(learn_sorting(honest, false) > 0.2);
  cheat.eval();
  CHECK(models::decode(cheat, {{9, 5, 7, 3, 4}})[0][0].tokens != std::vector<int32_t>{3, 4, 5, 7, 9});
}

TEST_CASE("tour 8.2: an answer's score is the mean log probability of its tokens and its end") {
  Sorter model;
  learn_sorting(model, false);
  model.eval();
  const std::vector<int32_t> source{9, 5, 7, 3, 4};
  const models::Hypothesis best = models::decode(model, {source})[0][0];
  REQUIRE(best.tokens.size() < 10);  // it ended by itself

  std::vector<int32_t> in{BOS}, out = best.tokens;
  in.insert(in.end(), best.tokens.begin(), best.tokens.end());
  out.push_back(EOS);
  const auto length = static_cast<int64_t>(in.size());
  const Tensor log_p = log_softmax(model(source, {5}, in, {length}));  // (length, V)
  double sum = 0;
  for (int64_t i = 0; i < length; ++i) sum += log_p.data()[i * model.config.vocab + out[i]];
  CHECK(std::abs(sum / static_cast<double>(length) - best.score) <= 10 * rounding);
}

TEST_CASE("tour 9.1: differential attention has six rows of 16 numbers more in each block") {
  // Four vectors of a query head's width, D / heads / 2 = 16, and the head norm's gain, D / heads = 32. The four
  // projections are as large as before.
  Random random(1);
  const nn::MultiheadAttention softmax({.width = 64, .heads = 4, .rotary = true}, random);
  const nn::MultiheadDiffAttention diff({.width = 64, .heads = 2, .rotary = true}, random);
  CHECK(diff.parameter_count() - softmax.parameter_count() == 4 * 16 + 32);
  CHECK(diff.lambda_q1.numel() == 16);
  CHECK(diff.subln->weight.numel() == 32);
}

TEST_CASE("tour 9.2: a language model writes the same text with kept keys and values, and from the start each time") {
  Random random(1);
  models::LanguageModelConfig config;
  config.vocab = 21, config.d_model = 16, config.ff = 32, config.layers = 2;
  models::LanguageModel model(config, random);
  model.eval();
  const models::SampleOptions likeliest{.temperature = 0, .max_tokens = 20};
  const std::vector<int32_t> kept = models::sample(model, {{0}}, likeliest)[0];

  const NoGrad no_grad;
  std::vector<int32_t> ids{0};
  while (ids.size() < 21) {
    const auto length = static_cast<int64_t>(ids.size());
    const std::vector<Scalar> scores = slice(model(ids, {length}), 0, length - 1, length).values();
    ids.push_back(static_cast<int32_t>(std::max_element(scores.begin(), scores.end()) - scores.begin()));
  }
  CHECK(kept == std::vector<int32_t>(ids.begin() + 1, ids.end()));
}

namespace {
// 32 texts of 2 to 9 tokens; of text i, ids[i] are given and next[i] to be predicted.
struct Texts {
  std::vector<std::vector<int32_t>> ids, next;
  Texts() {
    Random random(5);
    for (int i = 0; i < 32; ++i) {
      ids.emplace_back(2 + random.below(8));
      next.emplace_back(ids.back().size());
      for (int32_t& id : ids.back()) id = static_cast<int32_t>(random.below(21));
      for (int32_t& id : next.back()) id = static_cast<int32_t>(random.below(21));
    }
  }
};

struct LanguageModel : models::LanguageModel {
  explicit LanguageModel(Random random = Random(1)) : models::LanguageModel(settings(), random) {}
  static models::LanguageModelConfig settings() {
    models::LanguageModelConfig c;
    c.vocab = 21, c.d_model = 16, c.ff = 32, c.layers = 2;
    return c;
  }
};
}  // namespace

TEST_CASE("tour 10.1: a batch in 16 parts has the same gradient to the bit at any number of threads") {
  const Texts texts;
  const LanguageModel model;
  const auto gradient = [&](int64_t parts, int threads) {
    const Threads scope(threads);
    model.zero_grad();
    parallel_backward(parts, [&](int64_t part) {
      std::vector<int32_t> ids, next;
      std::vector<int64_t> lengths;
      for (int64_t i = part * 32 / parts; i < (part + 1) * 32 / parts; ++i) {
        ids.insert(ids.end(), texts.ids[i].begin(), texts.ids[i].end());
        next.insert(next.end(), texts.next[i].begin(), texts.next[i].end());
        lengths.push_back(static_cast<int64_t>(texts.ids[i].size()));
      }
      model.loss(ids, lengths, next, {.normalizer = 100}).backward();
    });
    std::vector<Tensor> all;
    for (const Tensor& p : model.parameters()) all.push_back(reshape(p.grad().clone(), {-1}));
    return concat(all, 0);
  };
  const Tensor one_thread = gradient(16, 1);
  CHECK(largest_difference(one_thread, gradient(16, 3)) == 0);
  // As one part the sums are in another order: the same but for rounding.
  const double difference = largest_difference(one_thread, gradient(1, 1));
  CHECK(difference > 0);
  CHECK(difference < 10 * rounding);
}

TEST_CASE("tour 10.2: place by place, a text of n tokens costs n (n + 1) / 2 of them, and the loss is the same") {
  const Texts texts;
  const LanguageModel model;
  const std::vector<int32_t>&ids = texts.ids[3], &next = texts.next[3];
  const auto n = static_cast<int64_t>(ids.size());
  REQUIRE(n > 3);
  const Scalar at_once = model.loss(ids, {n}, next).item();

  std::vector<int32_t> beginnings, targets;
  std::vector<int64_t> lengths(n);
  std::iota(lengths.begin(), lengths.end(), 1);
  for (int64_t length : lengths) {
    beginnings.insert(beginnings.end(), ids.begin(), ids.begin() + length);
    targets.insert(targets.end(), length - 1, CrossEntropyOptions().ignore_index);
    targets.push_back(next[length - 1]);
  }
  CHECK(std::abs(model.loss(beginnings, lengths, targets).item() - at_once) <= 10 * rounding);
  CHECK(static_cast<int64_t>(beginnings.size()) == n * (n + 1) / 2);
}
