// examples/needle: the generator of its tasks, its arms, what it measures, and how a study is put together.
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "examples/needle/arms.h"
#include "examples/needle/measure.h"
#include "examples/needle/needle_task.h"
#include "examples/needle/pictures.h"
#include "examples/needle/retrieval.h"
#include "examples/needle/study.h"
#include "examples/training/lambdas.h"
#include "examples/training/statistics.h"
#include "nn/diff_attention.h"
#include "tests/example_files.h"

using namespace needle;
using namespace difftensor;
using doctest::Approx;
using models::LanguageModel;
using training::read_records;

// --- The task ------------------------------------------------------------------------------------------------------

namespace {

// All settings that are trained on or tested, and some at the edge of what fits.
std::vector<Retrieval> settings() {
  std::vector<Retrieval> all;
  for (const char* name : {"needle1", "needle2"}) {
    const RetrievalTask& task = retrieval_task(name);
    all.insert(all.end(), task.easy.begin(), task.easy.end());
    all.push_back(task.test);
    all.push_back(task.test.resized(4 * task.test.context, 64, 8));
    all.push_back(task.test.resized(16 * (task.test.key_tokens + 1), 16, 16));  // no filler at all
  }
  return all;
}

// How often these tokens follow one another in [begin, end).
int occurrences(const std::vector<int32_t>& ids, int64_t begin, int64_t end, const std::vector<int32_t>& words) {
  int count = 0;
  for (int64_t i = begin; i + static_cast<int64_t>(words.size()) <= end; ++i)
    count += std::equal(words.begin(), words.end(), ids.begin() + i);
  return count;
}

}  // namespace

TEST_CASE("each question's key is in the context exactly once, and the answer follows it there") {
  for (const Retrieval& r : settings()) {
    Random random(3);
    const Questions q = sample(r, 20, random);
    CHECK(q.ids.size() == static_cast<size_t>(20 * r.length()));
    CHECK(q.where.size() == static_cast<size_t>(20 * r.queries));
    for (const int32_t id : q.ids) CHECK((0 <= id && id < r.vocab()));
    std::set<int32_t> evidence;
    for (size_t i = 0; i < q.where.size(); ++i) {
      const int64_t begin = q.where[i] / r.length() * r.length();
      const std::vector<int32_t> key(q.ids.begin() + q.where[i] + 1 - r.key_tokens, q.ids.begin() + q.where[i] + 1);
      CHECK(q.ids[q.where[i] - r.key_tokens] == 0);  // the marker
      CHECK(q.ids[q.where[i] + 1] == q.answers[i]);
      CHECK(q.ids[q.evidence[i]] == q.answers[i]);
      CHECK((begin <= q.evidence[i] && q.evidence[i] < begin + r.context));
      CHECK(occurrences(q.ids, begin, begin + r.context, key) == 1);
      CHECK(std::equal(key.begin(), key.end(), q.ids.begin() + q.evidence[i] - r.key_tokens));
      CHECK(evidence.insert(q.evidence[i]).second);  // no needle is asked for twice
    }
  }
}

TEST_CASE("keys are never equal, and two-token keys have near ones") {
  const Retrieval& r = retrieval_task("needle2").test;
  Random random(4);
  const Questions q = sample(r, 50, random);
  int near = 0;
  for (int64_t s = 0; s < 50; ++s) {
    std::set<std::pair<int32_t, int32_t>> keys;
    std::map<int32_t, int> first;
    for (int64_t i = s * r.length(); i + 1 < s * r.length() + r.context; ++i)
      if (q.ids[i] >= 1 && q.ids[i] <= r.alphabet) {
        CHECK(keys.emplace(q.ids[i], q.ids[i + 1]).second);
        ++first[q.ids[i++]];
      }
    CHECK(keys.size() == static_cast<size_t>(r.needles));
    for (const auto& [token, count] : first) near += count > 1;
  }
  CHECK(near > 100);
}

TEST_CASE("answers lie at every depth, and keys, values and filler are uniform") {
  const Retrieval& r = retrieval_task("needle1").test;
  Random random(5);
  const Questions q = sample(r, 2000, random);
  std::array<double, 8> depth{};
  std::vector<double> tokens(static_cast<size_t>(r.vocab()));
  for (const int32_t row : q.evidence) ++depth[static_cast<size_t>(8 * (row % r.length()) / r.context)];
  for (size_t i = 0; i < q.ids.size(); ++i) tokens[q.ids[i]] += static_cast<int64_t>(i) % r.length() < r.context;
  const auto chi_square = [](auto begin, auto end) {
    double sum = 0, x = 0;
    for (auto i = begin; i != end; ++i) sum += *i;
    const double expected = sum / static_cast<double>(end - begin);
    for (auto i = begin; i != end; ++i) x += (*i - expected) * (*i - expected) / expected;
    return x;
  };
  // Without replacement, so with a little less variance than chi-square has: its 0.999 quantiles bound them.
  CHECK(chi_square(depth.begin(), depth.end()) < 24.3);
  CHECK(chi_square(tokens.begin() + 1, tokens.begin() + 65) < 103.4);
  CHECK(chi_square(tokens.begin() + 65, tokens.begin() + 97) < 61.1);
  CHECK(chi_square(tokens.begin() + 97, tokens.end()) < 61.1);
}

TEST_CASE("a slice of questions is about its own sequences") {
  const Retrieval& r = retrieval_task("needle2").easy[0];
  Random random(6);
  const Questions all = sample(r, 5, random), part = slice(all, 2, 4);
  CHECK(part.lengths.size() == 2);
  CHECK(part.answers.size() == static_cast<size_t>(2 * r.queries));
  for (size_t i = 0; i < part.where.size(); ++i) {
    CHECK(part.ids[part.where[i] + 1] == part.answers[i]);
    CHECK(part.ids[part.evidence[i]] == part.answers[i]);
    CHECK(part.answers[i] == all.answers[2 * r.queries + i]);
  }
}

TEST_CASE("what cannot be asked is refused") {
  const Retrieval& r = retrieval_task("needle1").test;
  CHECK(contains(error_of([&] { r.resized(224, 4, 5); }), "5 queries of 4 needles"));
  CHECK(contains(error_of([&] { r.resized(224, 65, 5); }), "65 needles with 64 keys"));
  CHECK(contains(error_of([&] { r.resized(31, 16, 8); }), "16 needles of 2 tokens in a context of 31"));
  CHECK(contains(error_of([&] { retrieval_task("needle3"); }), "needle1, needle2"));
  CHECK(contains(error_of([&] { arm_config("diff-v3", 9); }), "diff-v3"));
}

TEST_CASE("no sequence that is tested on is trained on, whatever the seed") {
  Settings settings;
  settings.resolve();
  std::set<std::vector<int32_t>> tested;
  const auto sequences = [](const Questions& q) {
    std::vector<std::vector<int32_t>> all;
    auto next = q.ids.begin();
    for (const int64_t length : q.lengths) all.emplace_back(next, next + length), next += length;
    return all;
  };
  for (const uint64_t stream : {0, 1, 2, 3}) {
    Random random = test_random(stream);
    for (auto& sequence : sequences(sample(retrieval_task("needle1").test, 16, random))) tested.insert(sequence);
  }
  CHECK(tested.size() == 4 * 16);
  for (const uint64_t seed : {uint64_t{1}, test_seed}) {
    settings.loop_settings.seed = seed;
    NeedleTask task(settings);
    for (int64_t update = 1; update <= 100; ++update) {
      task.begin_update(update);
      for (const auto& sequence : sequences(task.update())) CHECK(!tested.contains(sequence));
    }
  }
}

TEST_CASE("training sequences depend on seed and update alone: not on the arm, nor on what came before") {
  const auto ids = [](const std::string& arm, const std::vector<int64_t>& updates) {
    Settings settings;
    settings.arm = arm;
    settings.resolve();
    NeedleTask task(settings);
    for (const int64_t update : updates) task.begin_update(update);
    return task.update().ids;
  };
  const std::vector<int32_t> expected = ids("diff", {1, 2, 30});
  for (const std::string& arm : arm_names()) CHECK(ids(arm, {30}) == expected);
  CHECK(ids("diff", {29}) != expected);
}

// --- Arms ----------------------------------------------------------------------------------------------------------

TEST_CASE("arms have the same number of parameters to 1%, and begin with the same bits") {
  std::map<std::string, std::unique_ptr<LanguageModel>> models;
  for (const std::string& arm : arm_names()) models[arm] = make_model(arm, 129, 7);
  const auto count = static_cast<double>(models["softmax"]->parameter_count());
  CHECK(count == 361344);  // as the pilot's
  std::map<std::string, int> shared;
  for (const auto& [a, first] : models) {
    CHECK(std::abs(static_cast<double>(first->parameter_count()) - count) < 0.01 * count);
    for (const auto& [b, second] : models) {
      const auto of_b = second->state_dict();
      for (const auto& [name, values] : first->state_dict())
        if (const auto other = of_b.find(name); other != of_b.end() && other->second.shape() == values.shape()) {
          CHECK(largest_difference(values, other->second) == 0);
          ++shared[a + " " + b];
        }
    }
  }
  CHECK(shared["diff softmax-wide"] == 21);  // all but diff's lambdas and norms
  CHECK(largest_difference(make_model("diff", 129, 7)->output_weight(), make_model("diff", 129, 8)->output_weight()) >
        0.1);
  CHECK(models["softmax"]->config.heads == 8);
  CHECK(models["softmax-wide-norm"]->config.heads == 4);
}

// --- Measures ------------------------------------------------------------------------------------------------------

TEST_CASE("attention mass is that of the maps that attention computes from Q and K") {
  const Retrieval setting = retrieval_task("needle1").easy[0];
  Random random(8);
  const Questions q = sample(setting, 3, random);
  const int64_t T = setting.length();
  // With a lambda above 1 a row's sum is negative, and counts as 0.001.
  const std::vector<std::pair<std::string, double>> cases{
      {"softmax", 0}, {"softmax-wide-norm", 0}, {"diff", 0.3}, {"diff", 1.2}, {"diff-v2", 0}};
  for (const auto& one : cases) {
    const std::string arm = one.first;
    const double lambda = one.second;
    CAPTURE(arm);
    CAPTURE(lambda);
    const auto model = make_model(arm, retrieval_task("needle1").test.vocab(), 9);
    nn::Attention& attention = model->layers()[1].self_attn;
    training::AttentionListener listener(attention);
    NoGrad no_grad;
    model->decode(q.ids, nn::packed_sequences(q.lengths));
    nn::AttentionTrace trace = listener.trace;
    if (arm == "diff") trace.lambda = full({}, Scalar(lambda));
    const int64_t d = attention.head_width, heads = trace.layout.heads;
    const int64_t maps = trace.q.dim(1) / d, keys = trace.k.dim(1) / d;
    for (const Normalisation normalisation : {Normalisation::signed_sum, Normalisation::absolute}) {
      std::vector<double> answer(static_cast<size_t>(heads)), noise = answer;
      for (size_t i = 0; i < q.where.size(); ++i) {
        const int64_t begin = q.where[i] / T * T, row = q.where[i] - begin, evidence = q.evidence[i] - begin;
        const auto map = [&](int64_t m) {
          const auto of = [&](const Tensor& x, int64_t head) {
            return reshape(slice(slice(x, 0, begin, begin + T), 1, head * d, (head + 1) * d), {1, T, d});
          };
          return attention_map(of(trace.q, m), of(trace.k, m * keys / maps), true);
        };
        for (int64_t h = 0; h < heads; ++h) {
          Tensor a = map(maps == heads ? h : 2 * h);
          if (trace.lambda.defined())
            a = a - map(2 * h + 1) * trace.lambda.data()[trace.lambda.numel() == 1 ? 0 : q.where[i] * heads + h];
          double sum = 0;
          const auto weight = [&](int64_t j) {
            const double w = static_cast<double>(a.data()[row * T + j]);
            return normalisation == Normalisation::absolute ? std::abs(w) : w;
          };
          for (int64_t j = 0; j < T; ++j) sum += weight(j);
          if (normalisation == Normalisation::signed_sum) sum = std::max(sum, 1e-3);
          for (int64_t j = 0; j < T; ++j) {
            const bool neither = (j > evidence - 4 && j <= evidence) || j > row - 4;
            (j == evidence ? answer : noise)[static_cast<size_t>(h)] +=
                (j == evidence || !neither) ? weight(j) / sum / static_cast<double>(q.where.size()) : 0;
          }
        }
      }
      const Mass mass = attention_mass(trace, q, normalisation);
      const auto best = std::max_element(answer.begin(), answer.end()) - answer.begin();
      CHECK(mass.answer == Approx(std::accumulate(answer.begin(), answer.end(), 0.0) / heads).epsilon(1e-4));
      CHECK(mass.noise == Approx(std::accumulate(noise.begin(), noise.end(), 0.0) / heads).epsilon(1e-4));
      CHECK(mass.best_answer == Approx(answer[static_cast<size_t>(best)]).epsilon(1e-4));
      CHECK(mass.best_noise == Approx(noise[static_cast<size_t>(best)]).epsilon(1e-4));
    }
  }
}

TEST_CASE("outliers are ranks of magnitudes; logits are q . k / sqrt(d) of each key that a query sees") {
  std::vector<float> values;
  for (int i = 1; i <= 201; ++i) values.push_back(i % 2 ? static_cast<float>(i) : static_cast<float>(-i));
  CHECK(outliers(values) == Outliers{201, 200, 199, 192, 102, 101});
  Random random(1);
  const Questions q = sample(retrieval_task("needle1").easy[0], 2, random);
  const int64_t T = q.lengths[0];
  for (const std::string arm : {"softmax", "diff", "diff-v2"}) {
    const int64_t maps = arm == "diff-v2" ? 16 : 8, key_heads = 8;
    CAPTURE(arm);
    const auto model = make_model(arm, 129, 1);
    training::AttentionListener listener(model->layers()[0].self_attn);
    NoGrad no_grad;
    model->decode(q.ids, nn::packed_sequences(q.lengths));
    const std::vector<float> logits = attention_logits(listener.trace, 16);
    std::vector<double> expected;
    for (int64_t text = 0; text < 2; ++text)
      for (int64_t map = 0; map < maps; ++map)
        for (int64_t i = 0; i < T; ++i)
          for (int64_t j = 0; j <= i; ++j) {
            double dot = 0;
            for (int64_t f = 0; f < 16; ++f)
              dot += static_cast<double>(
                  listener.trace.q.data()[(text * T + i) * maps * 16 + map * 16 + f] *
                  listener.trace.k.data()[(text * T + j) * key_heads * 16 + map * key_heads / maps * 16 + f]);
            expected.push_back(dot / 4);
          }
    REQUIRE(logits.size() == expected.size());
    double worst = 0;
    for (size_t i = 0; i < logits.size(); ++i)
      worst = std::max(worst, std::abs(static_cast<double>(logits[i]) - expected[i]));
    CHECK(worst < 1e-5);
  }
}

TEST_CASE("a look inside tells layers in order: lambda, and what leaves each of them") {
  Random random(2);
  const Questions q = sample(retrieval_task("needle1").easy[0], 2, random);
  const auto model = make_model("diff", 129, 4);
  const nlohmann::json inside = look_inside(*model, q);
  NoGrad no_grad;
  const nn::Sequences texts = nn::packed_sequences(q.lengths);
  Tensor x = model->embed(q.ids, texts);
  for (int64_t layer = 0; layer < 2; ++layer) {
    const auto& of_layer = model->layers()[layer];
    x = of_layer(x, texts, nullptr, nullptr);
    const auto& attention = dynamic_cast<const nn::MultiheadDiffAttention&>(of_layer.self_attn);
    CHECK(inside.at("lambda").at(layer) == Approx(static_cast<double>(attention.lambda().item())));
    CHECK(inside.at("hidden").at(layer).at(0) == Approx(static_cast<double>(max(abs(x)).item())));
    CHECK(inside.at("logits").at(layer).size() == 6);
    CHECK(inside.at("mass").at(layer).at("signed").size() == 4);
  }
  CHECK(look_inside(*make_model("softmax", 129, 4), q).at("lambda").empty());
}

TEST_CASE("accuracy and loss of a model are those of its logits") {
  const Retrieval setting = retrieval_task("needle1").easy[0];
  const auto model = make_model("diff", 129, 3);
  const Score score = evaluate(*model, setting, 30, Random(11));
  Random random(11);
  const Questions q = sample(setting, 30, random);
  NoGrad no_grad;
  const Tensor logits = (*model)(q.ids, q.lengths);
  double right = 0, loss = 0;
  std::array<double, 4> right_at{}, asked_at{};  // each quarter of the context
  for (size_t i = 0; i < q.where.size(); ++i) {
    const Scalar* row = logits.data() + q.where[i] * 129;
    const bool answered = std::max_element(row, row + 129) - row == q.answers[i];
    const int64_t place = q.evidence[i] % setting.length();
    const size_t quarter = static_cast<size_t>(place / (setting.context / 4));
    right += answered, right_at[quarter] += answered, ++asked_at[quarter];
    double sum = 0;
    for (int v = 0; v < 129; ++v) sum += std::exp(static_cast<double>(row[v] - row[q.answers[i]]));
    loss += std::log(sum);
  }
  CHECK(score.accuracy == Approx(right / static_cast<double>(q.where.size())));
  CHECK(score.loss == Approx(loss / static_cast<double>(q.where.size())).epsilon(1e-5));
  CHECK(right > 0);
  for (size_t i = 0; i < 4; ++i) CHECK(score.accuracy_by_depth[i] == Approx(right_at[i] / asked_at[i]));
}

// --- Statistics and studies ----------------------------------------------------------------------------------------

TEST_CASE("statistics") {
  constexpr double never = std::numeric_limits<double>::infinity();
  CHECK(training::median({3, 1, 2}) == 2);
  CHECK(training::median({4, 1, 2, 3}) == 2.5);
  CHECK(training::median({400, never, 500}) == 500);
  CHECK(std::isinf(training::median({400, never, never})));
  CHECK(std::isinf(training::median({400, never})));
  const training::MeanInterval i = training::student_interval({1, 2, 3, 4, 5});
  CHECK(i.mean == 3);
  CHECK(i.half_width == Approx(2.7764 * std::sqrt(2.5 / 5)));
  CHECK(std::isinf(training::student_interval({7}).half_width));
  // t of 40 degrees of freedom is 2.0211; 41 values of variance 1.
  std::vector<double> many(41);
  for (size_t k = 0; k < 41; ++k) many[k] = k == 40 ? 0 : k % 2 ? 1 : -1;
  CHECK(training::student_interval(many).half_width == Approx(2.0211 / std::sqrt(41.0)).epsilon(1e-4));
  // Fisher's tea: all four cups, then three of four.
  CHECK(training::fisher_exact(4, 4, 0, 4) == Approx(1.0 / 70));
  CHECK(training::fisher_exact(3, 4, 1, 4) == Approx(17.0 / 70));
  CHECK(training::fisher_exact(0, 12, 0, 12) == Approx(1));
  CHECK(training::fisher_exact(5, 30, 0, 40) == Approx(0.0118).epsilon(0.01));  // the pilot's lead
}

namespace {
nlohmann::json record(const Trial& t, std::vector<std::pair<int64_t, double>> curve, double accuracy) {
  nlohmann::json points = nlohmann::json::array();
  for (const auto& [update, reached] : curve) points.push_back({update, reached, 1 - reached});
  return {{"task", t.task},
          {"arm", t.arm},
          {"lr", t.lr},
          {"seed", t.seed},
          {"max_updates", t.updates},
          {"curve", points},
          {"tests", {{"as trained", {{"accuracy", accuracy}}}}}};
}
}  // namespace

TEST_CASE("a study tunes each arm on seeds of their own, then runs the others at its best learning rate") {
  Study study = study_named("first", 0);
  study.arms = {"softmax", "diff"}, study.lrs = {0.001, 0.002}, study.seeds = {1, 2, 3};
  CHECK(study.size() == 14);
  Records records;
  CHECK(study.trials(records).size() == 8);
  CHECK(study.best_lr("diff", records) == 0);
  for (const uint64_t seed : {101, 102}) {
    records.push_back(record({"needle1", "diff", 0.001, seed, 3000}, {{500, 0.5}, {900, 0.99}}, 0.99));
    records.push_back(record({"needle1", "diff", 0.002, seed, 3000}, {{500, 0.99}, {550, 0.7}}, 0.99));
  }
  CHECK(updates_to(0.99, records[0]) == 900);
  CHECK(updates_to(0.995, records[0]) == 0);
  CHECK(study.best_lr("diff", records) == 0.002);
  CHECK(study.trials(records).size() == 11);
  CHECK(study.trials(records).back() == Trial{"needle1", "diff", 0.002, 3, 3000});
  // Where no rate came there, the lower loss decides.
  for (const uint64_t seed : {101, 102}) {
    records.push_back(record({"needle1", "softmax", 0.001, seed, 3000}, {{3000, 0.3}}, 0.3));
    records.push_back(record({"needle1", "softmax", 0.002, seed, 3000}, {{3000, 0.2}}, 0.2));
  }
  CHECK(study.best_lr("softmax", records) == 0.001);
  CHECK(study.reported("softmax", records).empty());
  records.push_back(record({"needle1", "diff", 0.002, 2, 3000}, {{500, 0.99}}, 0.985));
  records.push_back(record({"needle1", "diff", 0.001, 1, 3000}, {{500, 0.99}}, 0.985));  // at another rate
  records.push_back(record({"needle1", "diff", 0.002, 3, 3000}, {{500, 0.9}}, 0.975));
  const ArmRecords diff{"diff", 0.002, study.reported("diff", records)};
  REQUIRE(diff.records.size() == 2);
  CHECK(solved(diff).records.size() == 1);
  CHECK(updates(diff, 0.99) == std::vector<double>{500, std::numeric_limits<double>::infinity()});
}

TEST_CASE("a training that went astray is done, and counts as one that never solved the task") {
  Study study = study_named("first", 0);
  study.arms = {"diff", "softmax"}, study.lrs = {0.001, 0.004}, study.tuning_seeds = {101, 102}, study.seeds = {1, 2};
  const auto astray = [](const Trial& trial) {
    nlohmann::json record = training::to_json(trial);
    record["astray"] = true;
    return record;
  };
  // With 0.004 one seed was quick and one went astray, with 0.001 neither came there: still the better rate.
  Records records{record({"needle1", "diff", 0.001, 101, 3000}, {{3000, 0.1}}, 0.1),
                  record({"needle1", "diff", 0.001, 102, 3000}, {{3000, 0.1}}, 0.1),
                  record({"needle1", "diff", 0.004, 101, 3000}, {{500, 0.99}}, 0.99),
                  astray({"needle1", "diff", 0.004, 102, 3000})};
  CHECK(study.best_lr("diff", records) == 0.001);
  Records worse = records;  // with 0.001 both went astray
  worse[0] = astray({"needle1", "diff", 0.001, 101, 3000}), worse[1] = astray({"needle1", "diff", 0.001, 102, 3000});
  CHECK(study.best_lr("diff", worse) == 0.004);
  records.push_back(astray({"needle1", "diff", 0.001, 1, 3000}));
  CHECK_FALSE(is_solved(records.back()));
  CHECK(training::reported_arms(study, records).empty());
  records.push_back(record({"needle1", "diff", 0.001, 2, 3000}, {{500, 0.99}}, 0.99));
  records.back()["cpu"] = "a CPU", records.back()["cpu_seconds_per_update"] = nullptr;
  const std::vector<ArmRecords> arms = training::reported_arms(study, records);
  REQUIRE(arms.size() == 1);
  CHECK(arms[0].records.size() == 1);
  CHECK(arms[0].seeds() == 2);
  CHECK(updates(arms[0], 0.99) == std::vector<double>{500, std::numeric_limits<double>::infinity()});
  CHECK(solved(arms[0]).records.size() == 1);
  const std::string words = training::progress_of(study, arms, records);
  CHECK(contains(words, "2 of 4 reported trainings are done"));
  CHECK(contains(words, "of 2 seeds there are only: softmax 0; seeds that went astray: diff 1"));
  // An arm whose rates all go astray has the first of them, and can be seen to.
  for (const double lr : study.lrs)
    for (const uint64_t seed : study.tuning_seeds) records.push_back(astray({"needle1", "softmax", lr, seed, 3000}));
  CHECK(study.best_lr("softmax", records) == 0.001);
}

TEST_CASE("the confirmatory study is the one that was announced") {
  const Study study = study_named("confirmatory", 0);
  CHECK(study.task == "needle2");
  CHECK(study.lrs == std::vector<double>{0.001});
  CHECK(study.seeds.size() == 12);
  CHECK(study.updates == 5000);
  CHECK(study.size() == 60);
  CHECK(contains(error_of([] { study_named("second", 0); }), "quick, first, confirmatory"));
}

TEST_CASE("a file of records names the line that is none") {
  const TemporaryDirectory folder;
  const std::string path = folder.path("records.jsonl");
  CHECK(read_records(path).empty());
  text::write_file(path,
                   record({"needle1", "diff", 0.001, 1, 10}, {{10, 0.5}}, 0.5).dump() + "\n{\"arm\": \"diff\"}\n");
  CHECK(contains(error_of([&] { read_records(path); }), "records.jsonl:2: is no record of such a training: key"));
  text::write_file(path, "nonsense\n");
  CHECK_THROWS_AS(read_records(path), text::InputError);
  CHECK(contains(error_of([&] { read_records(path); }), "records.jsonl:1: not JSON: "));
}

TEST_CASE("a record is what its checksum was made of, and there is one of a trial") {
  const TemporaryDirectory folder;
  const std::string path = folder.path("records.jsonl");
  const nlohmann::json one = record({"needle1", "diff", 0.001, 1, 10}, {{10, 0.5}}, 0.25);
  const std::string line = to_line(one);
  const auto read = [&](const std::string& lines) {
    text::write_file(path, lines);
    return read_records(path);
  };
  CHECK(read(line) == Records{one});
  CHECK(read("\n" + line + "\n" + line + one.dump()) == Records{one});  // the same once more, or without a checksum
  // Every flipped bit is noticed, or harmless.
  size_t silent = 0;
  for (size_t bit = 0; bit < 8 * (line.size() - 1); ++bit) {
    std::string damaged = line;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
    try {
      const Records records = read(damaged);
      for (const auto& [key, value] : one.items())
        silent += records.size() != 1 || records[0].value(key, nlohmann::json()) != value;
    } catch (const text::InputError&) {
    }
  }
  CHECK(silent == 0);
  nlohmann::json other = one;
  other["tests"]["as trained"]["accuracy"] = 0.5;
  CHECK(contains(error_of([&] { read(line + "\n" + other.dump()); }),
                 "records.jsonl:3: tells something else of needle1-diff-0.001-1-10 than an earlier line"));
}

TEST_CASE("a number that a record does not have is left out") {
  nlohmann::json measured = record({"needle1", "diff", 0.001, 1, 10}, {{10, 0.5}}, 0.25), stopped = measured;
  measured["cost"] = 2, stopped["cost"] = nullptr;
  CHECK(ArmRecords{"diff", 0.001, {stopped, measured, stopped}}.values("/cost") == std::vector{2.0});
}
