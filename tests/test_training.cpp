// examples/training: settings, logs, charts, progress.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "examples/training/attention_chart.h"
#include "examples/training/csv_log.h"
#include "examples/training/history.h"
#include "examples/training/loop.h"
#include "examples/training/progress.h"
#include "examples/training/svg.h"
#include "examples/training/task.h"
#include "examples/training/train_command.h"
#include "nn/linear.h"
#include "tests/example_files.h"

using namespace training;
using text::read_file;
using namespace difftensor;

// --- The loop --------------------------------------------------------------------------------------------------------

// [a task]
/// Fits y = 2 x + 1: 64 points an update, 8 in each of its pieces.
class Line : public training::Task {
 public:
  explicit Line(Random& random) : model_(1, 1, true, random) {}
  nn::Module& model() override { return model_; }
  training::Companion companion() const override { return {"points", "none", "none"}; }
  std::string data_fingerprint() const override { return "y = 2 x + 1"; }
  std::string summary() const override { return "a line to fit\n"; }
  std::string title() const override { return "a line"; }
  double guessing_loss() const override { return 5; }

  int64_t updates_per_epoch() const override { return 40; }
  training::Update begin_update(int64_t) override { return {/*pieces=*/8, /*targets=*/64, /*tokens=*/64}; }
  training::PieceLoss piece_loss(int64_t) override {
    const Tensor x = randn({8, 1}, default_random());
    const Tensor loss = sum(pow(model_(x) - (x * 2 + 1), 2));
    return {loss / 64, loss.item()};
  }
  std::vector<training::Figure> figures() const override { return {{"slope"}}; }
  training::Validation validate() override {
    const Scalar slope = model_.weight.item(), offset = model_.bias.item();
    training::Validation v;
    v.loss = std::pow(slope - 2, 2) + std::pow(offset - 1, 2);  // the mean over x of variance 1
    v.figures = figures();
    v.figures[0].value = slope;
    return v;
  }

 private:
  nn::Linear model_;
};

struct LineSettings : training::TrainSettings {
  training::LoopSettings loop_settings{*this};
  const training::LoopSettings& loop() const override { return loop_settings; }
  std::unique_ptr<training::Task> make_task(const std::string&) const override {
    Random random(loop_settings.seed);
    return std::make_unique<Line>(random);
  }
};
// [end]

TEST_CASE("the loop trains any task, and goes on to the same bits") {
  const TemporaryDirectory directory;
  LineSettings settings;
  settings.loop_settings.schedule = "inverse-sqrt";
  settings.loop_settings.lr = 0.1;
  settings.loop_settings.warmup = 5;
  settings.loop_settings.log_every = 1000;
  const auto train = [&](const char* name, int64_t updates, training::Start start) {
    settings.loop_settings.max_updates = updates;
    const std::string path = directory.path(name);
    const auto folder = start == Start::anew ? RunFolder::create(path) : RunFolder::open(path);
    const auto task = settings.make_task("");
    training::train(*task, settings, settings.loop(), folder.path, start);
    return task->validate().loss;
  };
  CHECK(train("straight", 120, Start::anew) < 1e-4);
  train("broken", 70, Start::anew);
  train("broken", 120, Start::resume_to_new_end);
  CHECK(read_file(directory.path("straight/last.safetensors")) == read_file(directory.path("broken/last.safetensors")));
  CHECK(read_history(directory.path("straight")).figures.at(0).label == "slope");
  CHECK(read_history(directory.path("straight")).valid_loss.size() == 3);
  CHECK_THROWS_AS(train("broken", 100, Start::resume_to_new_end), text::InputError);
}

TEST_CASE("a setting is said once, and found by flag, key and member") {
  const TemporaryDirectory directory;
  LineSettings settings;
  settings.update({{"lr", 0.5}, {"warmup", 7}}, "here");
  CHECK(settings.loop().warmup == 7);
  CHECK(settings.json()["lr"] == 0.5);
  CHECK(settings.loop_settings.max_epochs.flag() == "--max-epochs");
  const auto fault = [&](const char* key, const nlohmann::json& value) {
    return input_error(directory, [&] {
      LineSettings bad;
      bad.update({{key, value}}, "x.json");
      bad.resolve();
    });
  };
  CHECK(fault("speed", 1) == "x.json: \"speed\" is no setting");
  CHECK(fault("sp\need", 1) == "x.json: \"sp eed\" is no setting");
  CHECK(fault("lr", "fast") == "x.json: \"lr\" must be a number, not \"fast\"");
  CHECK(fault("lr", -1.0) == "--lr -1: must be positive and finite");
  CHECK(fault("schedule", "flat") == "--schedule flat: there are inverse-sqrt and cosine");
  CHECK(fault("max_epochs", 0) == "no error");  // the default: as other settings say
  CHECK(fault("max_epochs", -1) == "--max-epochs -1: must be at least 1");
}

TEST_CASE("a training without an end has as many updates as can be counted") {
  LineSettings s;
  const auto total = [&](int64_t epochs, int64_t updates, int64_t per_epoch) {
    s.loop_settings.max_epochs = epochs, s.loop_settings.max_updates = updates;
    return s.loop_settings.total_updates(per_epoch);
  };
  const int64_t most = std::numeric_limits<int64_t>::max();
  CHECK(total(3, 0, 7) == 21);
  CHECK(total(3, 20, 7) == 20);
  CHECK(total(0, 20, 7) == 20);
  CHECK(total(most, 20, most) == 20);
  for (const int64_t epochs : {most, most / 2 + 1, int64_t{1} << 62})
    for (const int64_t per_epoch : {int64_t{1}, int64_t{2}, int64_t{4}, most})
      CHECK(total(epochs, 0, per_epoch) == most / 2);
  CHECK(total(0, most, 7) == most / 2);
}

TEST_CASE("a log is cut back to where a training goes on") {
  const TemporaryDirectory directory;
  const std::string path = directory.write("log.csv", "kind,update,text\nx,1,a\ny,2,\ntoo,3\nx,4,b\nx,2,c\nx,2,torn");
  {
    CsvLog log(path, {"kind", "update", "text"}, 3);
    const auto row = [](const char* kind, const char* update, const char* text) {
      return CsvRow{{"kind", kind}, {"update", update}, {"text", text}};
    };
    CHECK(log.rows() == std::vector<CsvRow>{row("x", "1", "a"), row("y", "2", ""), row("x", "2", "c")});
    log.add({{"kind", "z"}, {"update", "3"}, {"text", std::string(1000, 'd')}});
    CHECK(log.rows().back().at("text").size() == 1000);
  }
  CHECK(read_file(path) == "kind,update,text\nx,1,a\ny,2,\nx,2,c\nz,3," + std::string(1000, 'd') + "\n");
  {  // columns that a file has stay, new ones come behind them
    CsvLog log(path, {"kind", "update", "more"}, 1);
    log.add({{"kind", "w"}, {"update", "2"}, {"more", "e"}});
  }
  CHECK(read_file(path) == "kind,update,text,more\nx,1,a,\nw,2,,e\n");
  CsvLog fresh(directory.path("new.csv"), {"update"}, 0);
  CHECK(fresh.rows().empty());
  CHECK_THROWS_WITH_AS(CsvLog("none/log.csv", {"update"}, 0), "none/log.csv: cannot write: No such file or directory",
                       std::runtime_error);
}

TEST_CASE("shuffles and dropout never draw the same numbers") {
  std::set<uint64_t> drawn;
  for (int64_t n = 1; n <= 1000; ++n)
    for (const uint64_t stream :
         {static_cast<uint64_t>(n), shuffle_stream(n), dropout_stream(n, 0), dropout_stream(n, 1)})
      CHECK(drawn.insert(Random(1, stream).bits()).second);
}

// --- What is shown ------------------------------------------------------------------------------------------------

TEST_CASE("what a picture writes is XML, whatever the text") {
  CHECK(training::xml_text("a < b & \"c\"\t>") == "a &lt; b &amp; &quot;c&quot;⇥&gt;");
  CHECK(training::xml_text("p\xe4irs, \xed\xa0\x80") == "p\uFFFDirs, \uFFFD\uFFFD\uFFFD");  // Latin-1; a lone surrogate
  CHECK(training::xml_text(std::string_view("\0\x1f", 2)) == "\uFFFD\uFFFD");
  // XML 1.0, section 2.2: Char ::= #x9 | #xA | #xD | [#x20-#xD7FF] | [#xE000-#xFFFD] | [#x10000-#x10FFFF]
  const auto utf8 = [](uint32_t c) {
    const auto tail = [c](int shift) { return static_cast<char>(0x80 | (c >> shift & 0x3f)); };
    if (c < 0x80) return std::string{static_cast<char>(c)};
    if (c < 0x800) return std::string{static_cast<char>(0xc0 | c >> 6), tail(0)};
    if (c < 0x10000) return std::string{static_cast<char>(0xe0 | c >> 12), tail(6), tail(0)};
    return std::string{static_cast<char>(0xf0 | c >> 18), tail(12), tail(6), tail(0)};
  };
  for (uint32_t c = 0x7f; c <= 0x110000; ++c) {
    const bool allowed = c < 0xd800 || (c >= 0xe000 && c <= 0xfffd) || (c >= 0x10000 && c <= 0x10ffff);
    const std::string shown = training::xml_text(utf8(c));
    if ((shown == utf8(c)) != (allowed)) FAIL("U+" << std::hex << c << " is written as " << shown);
    if (!allowed) REQUIRE(shown.find_first_not_of("\uFFFD") == shown.npos);
  }
}

TEST_CASE("charts are well formed whatever they show") {
  TrainingHistory history;
  for (int i = 0; i < 100'000; ++i) history.train_loss.push_back({i + 1.0, i % 1000 ? 10.0 / (1 + i) : NAN});
  history.valid_loss = {{5, 2}, {10, INFINITY}};
  history.lambda = {
      {"decoder.layers.0.cross_attn", {{5, 0.2}}}, {"decoder.layers.11.cross_attn", {{5, 0.3}}}, {"x", {{5, 9}}}};
  const std::string chart = training_chart("a < b & \"c\"", history);
  CHECK(contains(chart, "a &lt; b &amp; &quot;c&quot;"));
  CHECK(contains(chart, "loss per target token (logarithmic)"));  // 10 to 0.0001
  CHECK(contains(chart, ">decoder cross<"));
  CHECK(contains(chart, ">12<"));
  CHECK(!contains(chart, "gradient norm"));
  CHECK(!contains(chart, "nan"));
  CHECK(!contains(chart, "inf"));
  CHECK(chart.size() < 50'000);
  const std::string empty = training_chart("empty", {});
  CHECK(contains(empty, "gradient norm"));
  CHECK(!contains(empty, "nan"));
  CHECK(!contains(empty, "inf"));
  const std::string runs = comparison_chart({{"<a>", {{1, 3}}}, {"b", {{1, 3}, {2, 2.9}}}, {"none", {}}});
  CHECK(contains(runs, "&lt;a&gt; 3.00"));
  CHECK(contains(runs, "b 2.90"));
  CHECK(contains(comparison_chart({{"a", {{1, 3}, {2, 0.01}, {3, 0}}}}), "logarithmic"));  // 0 has no logarithm
  CHECK(!contains(runs, "logarithmic"));
  CHECK(!contains(runs, "nan"));

  AttentionFigure figure{"head 1", {"▁a", "<b>"}, {"x", "y", "\x01"}, {1, 0, 0, .5f, .5f, NAN}, {}, {}, 0.5f};
  figure.a2 = figure.difference = figure.a1;
  const std::string map = attention_chart(figure);
  CHECK(contains(map, "&lt;b&gt;"));
  CHECK(contains(map, "λ = 0.500"));
  CHECK(!contains(map, "\x01"));
  CHECK(!contains(map, "nan"));
  figure.a2.pop_back();
  CHECK_THROWS_AS(attention_chart(figure), std::invalid_argument);
}

TEST_CASE("long labels are cut at their beginning, and leave half of the picture to the curves") {
  const std::string path = std::string(300, 'a') + "/é" + std::string(20, 'b');
  const std::string chart = comparison_chart({{path, {{1, 3}, {9, 2}}}, {"short", {{1, 3}, {9, 1}}}});
  CHECK(contains(chart, ">…"));
  CHECK(contains(chart, "/é" + std::string(20, 'b') + " 2.00<"));
  CHECK(!contains(chart, std::string(60, 'a')));
  const size_t curve = chart.find("points=\"");
  REQUIRE(curve != std::string::npos);
  CHECK(!contains(chart, "points=\"-"));
  CHECK(!contains(chart, " -"));
}

TEST_CASE("labels of curves that end together do not overlap") {
  std::vector<Series> runs;
  for (int i = 0; i < 8; ++i) runs.push_back({"run" + std::to_string(i), {{1, 3}, {9, 2 + i * 1e-6}}});
  const std::string chart = comparison_chart(runs);
  std::vector<double> heights;
  for (size_t at = 0; (at = chart.find(">run", at + 1)) != std::string::npos;)
    heights.push_back(std::stod(chart.substr(chart.rfind(" y=\"", at) + 4)));
  REQUIRE(heights.size() == 8);
  std::sort(heights.begin(), heights.end());
  for (size_t i = 1; i < heights.size(); ++i) CHECK(heights[i] - heights[i - 1] > 11.5);
}

TEST_CASE("the history of a run is read from its files") {
  const TemporaryDirectory directory;
  const std::string header =
      "kind,epoch,update,loss,perplexity,tokens_per_second,lr,gradient_norm,bleu,exact,seconds\n";
  directory.write("train_log.csv",
                  header + "train,1,50,8.15,10,1165,0.00075,0.5,,,1.5\n" + "valid,1,60,3.98,100,,,,11.25,1.0,2.5\n");
  TrainingHistory h = read_history(directory.path(""));
  REQUIRE(h.train_loss.size() == 1);
  CHECK(h.train_loss[0].x == 50);
  CHECK(h.train_loss[0].y == doctest::Approx(std::log(10)));  // not smoothed
  CHECK(h.valid_loss.at(0).y == 3.98);
  CHECK(h.learning_rate.at(0).y == 0.00075);
  CHECK(h.tokens_per_second.at(0).y == 1165);
  REQUIRE(h.figures.size() == 2);
  CHECK(h.figures[0].label == "bleu");
  CHECK(h.figures[0].points.at(0).x == 60);
  CHECK(h.figures[0].points.at(0).y == 11.25);
  CHECK(h.lambda.empty());
  directory.write("lambda.csv", "update,a,b\n60,0.2,0.3\n");
  h = read_history(directory.path(""));
  REQUIRE(h.lambda.size() == 2);
  CHECK(h.lambda[1].label == "b");
  CHECK(h.lambda[1].points.at(0).y == 0.3);

  const auto fault = [&](const std::string& row) {
    directory.write("train_log.csv", header + row);
    return input_error(directory, [&] { read_history(directory.path("")); });
  };
  CHECK(contains(fault("train,1,50\n"), "train_log.csv:2: 3 fields under 11 columns"));
  CHECK(contains(fault("train,1,50,8.15,ten,1165,0.00075,0.5,,,1.5\n"), "\"ten\" is no number"));
  CHECK(contains(fault("train,1,,8.15,10,1165,0.00075,0.5,,,1.5\n"), "a row without kind or update"));
  CHECK(contains(input_error(directory, [&] { read_history(directory.path("none")); }),
                 "none/train_log.csv: cannot open"));
}

TEST_CASE("the progress bar fits its line") {
  CHECK(progress_line(840, 2000, 12.34, "loss 3.214", 70) ==
        " 42% ━━━━━━━━━━┄┄┄┄┄┄┄┄┄┄┄┄┄┄  840/2000  12.3/s  1:34 left  loss 3.214");
  CHECK(progress_text(840, 2000, 12.34) == "840/2000  12.3/s  1:34 left");
  CHECK(progress_line(0, 0, 0, "", 80).starts_with("100% "));
  CHECK(contains(progress_line(1, 100'001, 10, "", 80), "2:46:40 left"));
  for (int columns = 1; columns < 120; ++columns) {
    const std::string line = progress_line(123'456, 1'000'000, 0.01, "loss 3.214", columns);
    const auto shown = std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xC0) != 0x80; });
    CHECK(shown <= std::max(columns, 5));
  }
}

TEST_CASE("the page of examples/training shows the task word for word") {
  const std::string source = read_file("tests/test_training.cpp"), page = read_file("examples/training/README.md");
  const std::string begins = "// [a task]\n";
  const size_t begin = source.find(begins) + begins.size();
  CHECK(contains(page, "```cpp\n" + source.substr(begin, source.find("// [end]", begin) - begin) + "```"));
}
