// Studies of language models: arms are paired, differences and their intervals are those of hand-worked cases, equal
// time is what its rule says.
#include <ctime>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "examples/language_model/language_task.h"
#include "examples/language_model/study.h"
#include "examples/training/arms.h"
#include "examples/training/loop.h"
#include "tests/example_files.h"

using namespace language_model;
using namespace difftensor;
using doctest::Approx;

namespace {

// Lines that are alike, but no two the same.
std::string lines(int count) {
  std::string text;
  for (int i = 0; i < count; ++i)
    text += "line " + std::to_string(i) + ": the cat sat on mat " + std::to_string(i * 7 % 13) + ".\n";
  return text;
}

// A small training of an arm.
Settings settings_of(const std::string& arm, const std::string& text, int64_t updates, uint64_t seed = 1) {
  Settings s;
  s.update(study_settings(), "the study");
  s.train = {text};
  s.vocab_size = 0, s.context = 16, s.batch_tokens = 128, s.check_every = 2;
  s.d_model = 64, s.ff = 64, s.layers = 1;
  s.arm = arm;
  s.loop_settings.warmup = 2, s.loop_settings.lr = 0.01;
  s.loop_settings.max_updates = updates, s.loop_settings.seed = seed;
  s.resolve();
  return s;
}

nlohmann::json train_arm(const Settings& settings, const std::string& run) {
  LanguageTask task(settings, "");
  RunFolder::create(run);
  training::train(task, settings, settings.loop(), run, Start::anew);
  return text::read_json(run + "/record.json");
}

nlohmann::json record(const std::string& arm, uint64_t seed, double loss, double lr = 0.003) {
  nlohmann::json r = to_json({"poems", arm, lr, seed, 400});
  r.update({{"loss", loss}, {"data", "d"}, {"settings", {{"context", 128}}}});
  return r;
}

}  // namespace

// --- Arms ----------------------------------------------------------------------------------------------------------

TEST_CASE("the study's arms have as many parameters, to 1%") {
  std::vector<double> counts;
  for (const std::string& arm : study_of("sources").arms) {
    Settings s;
    s.update(study_settings(), "the study");
    s.arm = arm;
    counts.push_back(static_cast<double>(s.make_model(1024)->parameter_count()));
  }
  REQUIRE(counts.size() == 6);
  CHECK(*std::max_element(counts.begin(), counts.end()) < 1.01 * *std::min_element(counts.begin(), counts.end()));
}

TEST_CASE("arms of one seed begin with the same bits where shapes agree; a control has nothing that its arm lacks") {
  Settings s;
  const auto state = [&](const std::string& arm, uint64_t seed) {
    s.arm = arm, s.loop_settings.seed = seed;
    return s.make_model(300)->state_dict();
  };
  const auto shared = [](const auto& a, const auto& b) {
    size_t count = 0;
    for (const auto& entry : a) {
      const auto other = b.find(entry.first);
      if (other == b.end() || !(other->second.shape() == entry.second.shape())) continue;
      CHECK_MESSAGE(largest_difference(entry.second, other->second) == 0, entry.first);
      ++count;
    }
    return count;
  };
  const auto control = state("softmax-wide-norm", 5), diff = state("diff", 5);
  CHECK(shared(control, diff) == control.size());
  CHECK(diff.size() == control.size() + 4 * 4);  // four vectors that make lambda, in each of four layers
  CHECK(shared(state("softmax-wide", 5), state("diff-nonorm", 5)) == control.size() - 4);
  // diff-v2 has other queries, and narrower matrices in the feed-forward.
  CHECK(shared(state("softmax", 5), state("diff-v2", 5)) == control.size() - 4 - 4 * (1 + 3));
  CHECK(largest_difference(control.at("embedding.weight"), state("diff", 6).at("embedding.weight")) > 0.01);
}

TEST_CASE("the data of an update are those of its seed and number, in every arm") {
  const TemporaryDirectory directory;
  const std::string text = directory.write("cats", lines(60));
  const auto ids = [&](const std::string& arm, uint64_t seed, const std::vector<int64_t>& updates) {
    const Settings s = settings_of(arm, text, 10, seed);
    LanguageTask task(s, "");
    std::vector<int32_t> all;
    for (const int64_t update : updates) {
      task.begin_update(update);
      for (const Batch& b : task.pieces()) all.insert(all.end(), b.ids.begin(), b.ids.end());
    }
    return all;
  };
  const std::vector<int32_t> expected = ids("diff", 1, {1, 2, 30});
  CHECK(expected.size() > 200);
  for (const std::string& arm : study_of("cats").arms) CHECK(ids(arm, 1, {1, 2, 30}) == expected);
  const std::vector<int32_t> last = ids("softmax", 1, {30});
  CHECK(std::equal(last.begin(), last.end(), expected.end() - static_cast<int64_t>(last.size())));
  CHECK(ids("diff", 2, {1, 2, 30}) != expected);
}

TEST_CASE("an arm chooses attention, heads and head norm, also when it is read again") {
  const TemporaryDirectory directory;
  const std::string text = directory.write("cats", lines(20));
  const Settings s = settings_of("diff-v2", text, 4);
  CHECK(s.attention.value == "diff-v2");
  CHECK(s.head_norm.value == "no");
  CHECK(s.heads.value == 2);
  CHECK(s.model(100).ff == 64 - 22);  // (64^2 + 64 x 2) / (3 x 64)
  Settings again;
  again.update(s.json(), "config.json");
  again.resolve();
  CHECK(again.json() == s.json());
  CHECK(again.model(100).ff == s.model(100).ff);
  const Settings wide = settings_of("softmax-wide-norm", text, 4);
  CHECK(wide.heads.value == 1);
  CHECK(wide.head_norm.value == "yes");
  Settings both;
  CHECK(contains(error_of([&] {
                   both.change({{"arm", "diff"}, {"heads", 2}}, "the command line");
                 }),
                 "--arm diff and --heads: the arm chooses that"));
  // Nor may a run that has an arm be given something else, or a file say it; another arm chooses anew.
  Settings armed;
  armed.update(wide.json(), "config.json");
  for (const nlohmann::json& other :
       {nlohmann::json{{"attention", "diff"}}, {{"head_norm", "no"}}, {{"heads", 1}}, {{"lambda_init", 0.5}}}) {
    const std::string flag = other.contains("attention")     ? "--attention"
                             : other.contains("head_norm")   ? "--head-norm"
                             : other.contains("lambda_init") ? "--lambda-init"
                                                             : "--heads";
    CHECK(error_of([&] { Settings(armed).change(other, "the command line"); }) ==
          "--arm softmax-wide-norm and " + flag + ": the arm chooses that");
  }
  for (const nlohmann::json& other :
       {nlohmann::json{{"attention", "diff-v2"}}, {{"heads", 7}}, {{"head_norm", "no"}}, {{"lambda_init", 0.5}}}) {
    Settings file(armed);
    file.update(other, "config.json");
    CHECK(contains(error_of([&] { file.resolve(); }), ": the arm chooses that"));
  }
  armed.change({{"arm", "diff-v2"}}, "the command line");
  armed.resolve();
  CHECK(armed.attention.value == "diff-v2");
  CHECK(armed.head_norm.value == "no");
  CHECK(armed.heads.value == 2);
  CHECK(contains(error_of([&] { settings_of("diff-v3", text, 4); }), "there is no arm \"diff-v3\""));
  both.check_every = 5, both.loop_settings.max_epochs = 2;
  CHECK(contains(error_of([&] { both.resolve(); }), "--check-every: say with --max-updates"));
}

// --- Records -------------------------------------------------------------------------------------------------------

TEST_CASE("a record tells the end of its training, and its curve is the ends of shorter ones") {
  const TemporaryDirectory directory;
  const std::string text = directory.write("cats", lines(60));
  for (const std::string arm : {"softmax-wide-norm", "diff"}) {
    CAPTURE(arm);
    const nlohmann::json longer = train_arm(settings_of(arm, text, 6), directory.path("longer-" + arm)),
                         shorter = train_arm(settings_of(arm, text, 4), directory.path("shorter-" + arm));
    CHECK(longer.at("curve").size() == 3);
    CHECK(longer.at("curve").at(2).at(0) == 6);
    CHECK(longer.at("curve").at(0) == shorter.at("curve").at(0));
    CHECK(longer.at("curve").at(1) == shorter.at("curve").at(1));
    CHECK(longer.at("loss").get<double>() == Approx(longer.at("curve").at(2).at(1).get<double>()).epsilon(1e-5));
    CHECK(longer.at("loss").get<double>() < shorter.at("loss").get<double>());
    // Tokens are bytes here, but for one more at each file's end, which is no byte of the text.
    CHECK(longer.at("bits_per_byte").get<double>() ==
          Approx(longer.at("loss").get<double>() / std::log(2)).epsilon(0.01));
    CHECK(longer.at("positions").size() == 5);
    CHECK(longer.at("positions").at(3).at(1) == 15);
    CHECK(longer.at("lambda").size() == (arm == "diff" ? 1 : 0));
    CHECK(longer.at("settings") == shorter.at("settings"));
    CHECK(longer.at("data") == shorter.at("data"));
    CHECK(longer.at("cpu_seconds_per_update").get<double>() > 0);
  }
}

TEST_CASE("the cost of an update is CPU time, without that of validations") {
  const auto work = [](double seconds) {
    const std::clock_t end = std::clock() + static_cast<std::clock_t>(seconds * CLOCKS_PER_SEC);
    while (std::clock() < end) continue;
  };
  training::UpdateClock clock;
  CHECK(std::isnan(clock.seconds_per_update()));
  for (int i = 0; i < 2; ++i) {
    clock.update_begins(), work(0.02);  // ends where the next begins
    clock.update_begins(), work(0.04);
    clock.update_ends(), work(0.2);
    clock.update_ends();
  }
  CHECK(clock.seconds_per_update() >= 0.0299);
  CHECK(clock.seconds_per_update() < 0.05);
}

TEST_CASE("records of another text or with other settings are not compared") {
  Records records{record("diff", 1, 2.5), record("softmax", 1, 2.5)};
  require_comparable(records, "poems.jsonl");
  records.push_back(record("diff", 2, 2.5));
  records.back()["data"] = "e";
  CHECK(contains(error_of([&] { require_comparable(records, "poems.jsonl"); }),
                 "poems.jsonl: the text of poems-diff-0.003-2-400 is not that of poems-softmax-0.003-1-400"));
  records.back()["data"] = "d", records.back()["settings"]["context"] = 64;
  CHECK(contains(error_of([&] { require_comparable(records, "poems.jsonl"); }), "the settings of poems-diff"));
  Settings s;
  const nlohmann::json before = shared_settings(s);
  s.arm = "diff", s.attention = "softmax", s.heads = 3, s.loop_settings.lr = 1, s.loop_settings.seed = 9,
  s.train = {"a"};
  CHECK(shared_settings(s) == before);
  s.layers = 9;
  CHECK(shared_settings(s) != before);
}

// --- What is compared ----------------------------------------------------------------------------------------------

TEST_CASE("the study of losses is the one that was announced") {
  const Study study = study_of("poems");
  CHECK(study.size() == 96);  // six arms: three rates on two seeds, then ten
  CHECK(study.updates == 400);
  CHECK(study.seeds.front() == 1);
  CHECK(study.seeds.back() == 10);
  CHECK(comparisons()[0].name() == "diff − softmax-wide-norm");
  for (const Comparison& c : comparisons())
    for (const std::string& arm : {c.arm, c.control}) CHECK(std::count(study.arms.begin(), study.arms.end(), arm) == 1);
  Records records;
  for (const double lr : study.lrs)
    for (const uint64_t seed : study.tuning_seeds)
      records.push_back(record("diff", seed, lr == study.lrs[1] ? 2.4 : seed == 101 ? 2.3 : 2.6, lr));
  CHECK(study.best_lr("diff", records) == study.lrs[1]);  // the least sum, not the least loss
  CHECK(study.best_lr("softmax", records) == 0);
  CHECK(study_of("sources", 20, 3).size() == 54);
  CHECK(study_of("sources", 20, 3).updates == 20);
}

TEST_CASE("differences are paired by seed, whatever the order of the records") {
  const ArmRecords a{"diff", 0.003, {record("diff", 3, 2.5), record("diff", 1, 2), record("diff", 4, 7)}},
      b{"softmax", 0.003, {record("softmax", 1, 2.25), record("softmax", 2, 9), record("softmax", 3, 2.25)}};
  const auto loss = [](const nlohmann::json& r) { return r.at("loss").get<double>(); };
  CHECK(paired_differences(a, b, loss) == std::vector<double>{0.25, -0.25});
  CHECK(paired_differences(b, a, loss) == std::vector<double>{0.25, -0.25});
}

TEST_CASE("intervals of a difference: Student's t by hand, the bootstrap where its distribution is known") {
  const Difference d = difference_of({1, 2, 3, 4, 5});
  CHECK(d.mean == 3);
  CHECK(d.student.low == Approx(3 - 2.7764 * std::sqrt(0.5)));
  CHECK(d.student.high == Approx(3 + 2.7764 * std::sqrt(0.5)));
  CHECK(d.bootstrap.low >= 1);
  CHECK(d.bootstrap.high > 4);
  const Difference one = difference_of({7});
  CHECK(one.mean == 7);
  CHECK(std::isinf(one.student.low));
  CHECK(std::isinf(one.bootstrap.high));

  // Of nine zeros and a ten, the mean of a resample is how often the ten was drawn: binomial, n = 10, p = 0.1. It is 0
  // in 35% of the resamples, at most 2 in 93%, at most 3 in 98.7%.
  std::vector<double> values(10);
  values[4] = 10;
  CHECK(bootstrap_interval(values).low == 0);
  CHECK(bootstrap_interval(values).high == 3);
  values[4] = -10;
  CHECK(bootstrap_interval(values).low == -3);
  CHECK(bootstrap_interval(values).high == 0);
  // Of two values, a quarter of the means is at each end.
  CHECK(bootstrap_interval({2, 6}).low == 2);
  CHECK(bootstrap_interval({2, 6}).high == 6);
  CHECK(bootstrap_interval({2.5}).high == 2.5);
  CHECK(contains(error_of([] { bootstrap_interval({}); }), "no values"));
  // Many values: the means are normal, with the variance of the values over their number. The binomial of 400 draws has
  // 97.5% of its mass up to 239.
  std::vector<double> many(400);
  for (size_t i = 0; i < many.size(); i += 2) many[i] = 400;
  CHECK(bootstrap_interval(many).low == Approx(200 - 19.6).epsilon(0.01));
  CHECK(bootstrap_interval(many).high == Approx(200 + 19.6).epsilon(0.01));
}

TEST_CASE("equal time: in each seed, an arm's loss when the fastest is done, read off its curve") {
  const auto timed = [](const std::string& arm, uint64_t seed, const nlohmann::json& cost) {
    nlohmann::json r = record(arm, seed, 2);
    r["cpu_seconds_per_update"] = cost;
    r["curve"] = {{100, 4.0}, {200, 3.0}, {300, 2.5}, {400, 2.0}};
    return r;
  };
  const std::vector<ArmRecords> arms{
      {"softmax", 0.003, {timed("softmax", 1, 0.1), timed("softmax", 2, 0.09), timed("softmax", 3, 0.2)}},
      {"diff", 0.003, {timed("diff", 1, 0.125), timed("diff", 2, nullptr), timed("diff", 3, 0.1)}},
      {"diff-v2", 0.003, {timed("diff-v2", 1, nullptr)}}};
  const EqualTime equal = equal_time(arms, 400);
  CHECK(equal.size() == 5);
  CHECK(equal.at({"softmax", 1}) == Approx(400));
  CHECK(equal.at({"diff", 1}) == Approx(320));
  CHECK(equal.at({"softmax", 2}) == Approx(400));
  CHECK(equal.at({"softmax", 3}) == Approx(200));
  CHECK(equal.at({"diff", 3}) == Approx(400));
  CHECK(loss_after(320, arms[1].records[0]) == Approx(2.4));
  CHECK(loss_after(250, arms[1].records[0]) == Approx(2.75));
  CHECK(loss_after(200, arms[1].records[0]) == Approx(3));
  CHECK(loss_after(400, arms[0].records[0]) == Approx(2));
  CHECK(loss_after(1000, arms[0].records[0]) == Approx(2));  // no curve is drawn on beyond its ends
  CHECK(loss_after(50, arms[0].records[0]) == Approx(4));
  CHECK(equal_time({arms[2]}, 400).empty());
}
