// examples/language_model: text into tokens, contexts, losses and bits.
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/ops.h"
#include "examples/language_model/language_task.h"
#include "examples/training/attention_maps.h"
#include "examples/training/loop.h"
#include "tests/example_files.h"

using namespace language_model;
using namespace difftensor;

namespace {

const std::string poem = "one fish,\ntwo fish,\nred fish,\nblue fish.\n\nblack fish, blue fish,\nold fish, new fish.\n";

Settings small_settings(const std::vector<std::string>& paths) {
  Settings s;
  s.train = paths;
  s.vocab_size = 0;
  s.context = 16;
  s.d_model = 16, s.ff = 16, s.layers = 1;
  s.batch_tokens = 64;
  s.loop_settings.max_epochs = 1;
  s.resolve();
  return s;
}

// Whole files of bytes, without end tokens to get in the way of counting.
Corpus corpus_of(const std::vector<std::pair<int64_t, int64_t>>& lengths_and_given) {
  Corpus corpus;
  int32_t next = 0;
  for (const auto& [length, given] : lengths_and_given) {
    std::vector<int32_t> ids(length);
    std::iota(ids.begin(), ids.end(), next);
    next += static_cast<int32_t>(length);
    corpus.add(ids, given, length, 0);
  }
  return corpus;
}

}  // namespace

TEST_CASE("a corpus cut into contexts loses nothing: every target once, each from the token before it") {
  const Corpus corpus = corpus_of({{40, 1}, {1, 1}, {7, 1}, {2, 1}, {50, 20}, {9, 9}});
  CHECK(corpus.targets() == 39 + 0 + 6 + 1 + 30 + 0);
  for (const int64_t length : {2, 3, 16, 100})
    for (uint64_t seed = 0; seed < 20; ++seed) {
      CAPTURE(length);
      CAPTURE(seed);
      Random random(seed);
      const std::vector<Context> contexts = cut(corpus, length, random);
      std::map<int32_t, int> seen;
      for (const auto run : runs_of(contexts, 10)) {
        const Batch batch = make_batch(corpus, run);
        CHECK(std::accumulate(batch.lengths.begin(), batch.lengths.end(), int64_t{0}) ==
              static_cast<int64_t>(batch.ids.size()));
        CHECK(*std::max_element(batch.lengths.begin(), batch.lengths.end()) <= length);
        CHECK(batch.predicted > 0);
        int64_t predicted = 0;
        for (size_t i = 0; i < batch.targets.size(); ++i) {
          if (batch.targets[i] == no_target) continue;
          CHECK(batch.targets[i] == batch.ids[i] + 1);  // ids count up
          ++seen[batch.targets[i]];
          ++predicted;
        }
        CHECK(batch.predicted == predicted);
      }
      std::map<int32_t, int> expected;
      for (size_t text = 0; text < corpus.texts.size(); ++text)
        for (const int32_t id : corpus.targets(text)) expected[id] = 1;
      CHECK(seen == expected);
    }
}

TEST_CASE("contexts are cut elsewhere in each epoch, the same in each run of it") {
  const Corpus corpus = corpus_of({{100, 1}});
  const auto first_lengths = [&] {
    std::map<int64_t, int> counts;
    for (uint64_t epoch = 0; epoch < 200; ++epoch) {
      Random random(1, epoch);
      ++counts[cut(corpus, 4, random).at(0).length];
    }
    return counts;
  };
  CHECK(first_lengths().size() == 4);
  CHECK(first_lengths() == first_lengths());
}

TEST_CASE("the held-out part is the end of a file, from a line's beginning") {
  const std::string lines = "0123\n567\n9abcd\n";
  const auto held_out = [](const std::string& text, double fraction) {
    return text.substr(held_out_begin(text, fraction));
  };
  CHECK(held_out(lines, 0) == "");
  CHECK(held_out(lines, 0.1) == "d\n");      // no line begins there: it is a character
  CHECK(held_out(lines, 0.4) == "9abcd\n");  // byte 9 is where a line begins
  CHECK(held_out(lines, 0.5) == "9abcd\n");  // byte 7 is not
  CHECK(held_out(lines, 0.8) == "567\n9abcd\n");
  CHECK(held_out("ääää", 0.35) == "ä");  // byte 5 of 8 begins no character
  CHECK(held_out("", 0.5) == "");
}

TEST_CASE("train and held-out text share nothing, and make up the whole") {
  const TemporaryDirectory directory;
  const std::string path = directory.write("poem", poem), other = directory.write("other", poem + "the end\n");
  for (const int vocabulary : {0, 60}) {
    Settings s = small_settings({path, other});
    s.vocab_size = vocabulary;
    s.held_out = 0.3;
    const Data data = load_data(s, "");
    for (size_t text = 0; text < 2; ++text) {
      const std::string content = text == 0 ? poem : poem + "the end\n";
      const size_t begin = held_out_begin(content, 0.3);
      const auto train = data.train.targets(text), valid = data.valid.targets(text);
      CHECK(data.tokenizer.decode({train.begin(), train.end()}) == content.substr(0, begin));
      CHECK(data.tokenizer.decode({valid.begin(), valid.end()}) == content.substr(begin));
      CHECK(data.valid.given[text] <= s.context);
      CHECK(data.valid.texts[text][data.valid.given[text] - 1] == data.train.texts[text].back());
    }
    CHECK(data.train.bytes + data.valid.bytes == static_cast<int64_t>(2 * poem.size() + 8));
  }
}

TEST_CASE("whole files stand between end tokens; bytes come back as they went in") {
  const Tokenizer bytes = Tokenizer::learn({}, 0);
  CHECK(bytes.size() == 257);
  const std::string odd = std::string("a\0b\xC3\xA4\n", 6);
  CHECK(bytes.decode(bytes.encode(odd)) == odd);
  CHECK(bytes.encode("ä") == std::vector<int32_t>{0xC3, 0xA4});
  const Corpus corpus = whole_files({{"x", "ab"}, {"y", "c"}}, bytes);
  CHECK(corpus.texts == std::vector<std::vector<int32_t>>{{256, 'a', 'b', 256}, {256, 'c', 256}});
  CHECK(corpus.bytes == 3);
  CHECK(corpus.targets() == 5);
  CHECK(bytes.piece('\n') == "↵");

  const std::vector<std::string_view> texts{poem};
  const Tokenizer subwords = Tokenizer::learn(texts, 60);
  CHECK(subwords.decode(subwords.encode(texts)[0]) == poem);
  CHECK(subwords.encode(poem) == subwords.encode(texts)[0]);
  CHECK(subwords.unknown(subwords.encode("fish 鱼")) == 1);
  CHECK(subwords.unknown(subwords.encode("fish")) == 0);
}

TEST_CASE("files and folders: what is read, and what is left out") {
  const TemporaryDirectory directory;
  const std::string folder = directory.path("");
  std::filesystem::create_directories(directory.path("b/deep"));
  std::filesystem::create_directories(directory.path(".hidden"));
  directory.write("a.txt", "first\n");
  directory.write("b/deep/z.txt", "third\n");
  directory.write("b/a.md", "second\n");
  directory.write(".hidden/a.txt", "no\n");
  directory.write(".a.txt", "no\n");
  directory.write("empty.txt", "");
  const std::string binary = directory.write("picture.txt", "line\n\xFF\xFE");
  const auto contents = [&](const std::vector<std::string>& paths, const std::vector<std::string>& suffixes) {
    std::string all;
    for (const TextFile& file : read_texts(paths, suffixes)) all += file.content;
    return all;
  };
  CHECK(contents({folder}, {}) == "first\nsecond\nthird\n");
  CHECK(contents({folder}, {".txt"}) == "first\nthird\n");
  CHECK(contents({directory.path("b/a.md"), folder}, {".txt"}) == "second\nfirst\nthird\n");
  const auto error = [&](const std::vector<std::string>& paths, const std::vector<std::string>& suffixes) {
    return input_error(directory, [&] { read_texts(paths, suffixes); });
  };
  CHECK(error({directory.path("no")}, {}) == "no: no such file or folder");
  CHECK(error({binary}, {}) == "picture.txt:2: this is not valid UTF-8");
  CHECK(error({directory.path("b")}, {".cpp", ".h"}) ==
        "b: there is no text in files of folders that end in .cpp or .h");
}

TEST_CASE("loss by position adds up to the loss, and bits per byte by hand") {
  const TemporaryDirectory directory;
  const Settings s = small_settings({directory.write("poem", poem)});
  const TrainedModel trained = TrainedModel::begin(s, Tokenizer::learn({}, 0));
  trained.model->eval();
  const Corpus corpus = whole_files({{"", poem}, {"", "short"}}, trained.tokenizer);
  const LossByPosition loss = loss_by_position(*trained.model, corpus, 16);
  CHECK(loss.nll.size() == 16);
  CHECK(loss.targets() == corpus.targets());

  // The same cuts, all at once.
  Random random(1);
  const Batch batch = make_batch(corpus, cut(corpus, 16, random));
  CrossEntropyOptions options;
  double nll = 0;
  options.nll = &nll;
  trained.model->loss(batch.ids, batch.lengths, batch.targets, options);
  CHECK(loss.loss() * static_cast<double>(loss.targets()) == doctest::Approx(nll));
  std::vector<double> at_place(16);
  std::vector<int64_t> count(16);
  const Tensor log_p = log_softmax((*trained.model)(batch.ids, batch.lengths));
  int64_t row = 0;
  for (const int64_t length : batch.lengths)
    for (int64_t place = 0; place < length; ++place, ++row)
      if (const int32_t id = batch.targets[row]; id >= 0)
        at_place[place] -= static_cast<double>(log_p.data()[row * log_p.dim(1) + id]), ++count[place];
  CHECK(loss.count == count);
  for (size_t place = 0; place < 16; ++place) CHECK(loss.nll[place] == doctest::Approx(at_place[place]));
  double sum = 0, parts = 0;
  for (const double place : loss.nll) sum += place;
  CHECK(sum == doctest::Approx(nll));
  for (const LossByPosition::Part& part : loss.parts(1))
    for (int64_t i = part.first; i <= part.last; ++i) parts += part.loss * static_cast<double>(loss.count[i - 1]);
  CHECK(parts == doctest::Approx(nll));

  // 2 tokens of probability 1/8 and 1/2 are 4 bits; 5 bytes: 0.8 bits each.
  const LossByPosition by_hand{{std::log(8), std::log(2)}, {1, 1}, 1};
  CHECK(by_hand.bits_per_byte(5) == doctest::Approx(0.8));
  CHECK(by_hand.loss() == doctest::Approx(2 * std::log(2)));
  CHECK(by_hand.percent_right() == 50);
}

TEST_CASE("places are taken together in octaves") {
  LossByPosition loss{std::vector<double>(20, 3), std::vector<int64_t>(20, 2)};
  loss.nll[0] = 8;
  std::string text;
  for (const auto& part : loss.parts(1)) text += format("%ld-%ld %.1f, ", part.first, part.last, part.loss);
  CHECK(text == "1-1 4.0, 2-3 1.5, 4-7 1.5, 8-15 1.5, 16-20 1.5, ");
  int64_t next = 1;
  for (const auto& part : loss.parts(4)) {
    CHECK(part.first == next);
    next = part.last + 1;
  }
  CHECK(next == 21);
  CHECK(loss.curve().size() == loss.parts(4).size());
  loss.count.assign(20, 0);  // no text was so long
  CHECK(loss.curve().empty());
}

TEST_CASE("positions are drawn in octaves, each as wide") {
  const std::string svg = position_chart({{"<a>", {{1, 3}, {2, 2}, {4, 1}, {8, 1}}}});
  std::vector<double> at;
  for (size_t i = 0; (i = svg.find("<circle cx=\"", i)) != std::string::npos; ++i)
    at.push_back(std::strtod(svg.c_str() + i + 12, nullptr));
  REQUIRE(at.size() == 4);
  CHECK(at[1] - at[0] == doctest::Approx(at[3] - at[2]).epsilon(1e-3));
  CHECK(at[2] - at[1] == doctest::Approx(at[3] - at[2]).epsilon(1e-3));
  for (const char* tick : {">1<", ">2<", ">4<", ">8<"}) CHECK(contains(svg, tick));
  CHECK(contains(svg, "&lt;a&gt; 1.00"));
}

TEST_CASE("an epoch has every token, an update its share; what it draws does not depend on the past") {
  const TemporaryDirectory directory;
  std::string text;
  for (int i = 0; i < 30; ++i) text += poem;
  const Settings s = small_settings({directory.write("poems", text)});
  LanguageTask task(s, ""), later(s, "");
  const int64_t updates = task.updates_per_epoch();
  int64_t targets = 0;
  for (int64_t update = 1; update <= updates; ++update) targets += task.begin_update(update).targets;
  CHECK(targets == load_data(s, "").train.targets());
  CHECK(updates == (targets + 63) / 64);
  const auto loss = [](LanguageTask& from, int64_t update) {
    double sum = 0;
    for (int64_t piece = 0, count = from.begin_update(update).pieces; piece < count; ++piece)
      sum += from.piece_loss(piece).nll;
    return sum;
  };
  task.model().eval(), later.model().eval();
  CHECK(loss(later, updates + 3) == loss(task, updates + 3));
  CHECK(loss(later, 2) == loss(task, 2));
  CHECK(loss(task, 2) != loss(task, 3));
}

TEST_CASE("a small model learns a poem by heart") {
  const TemporaryDirectory directory;
  std::string text;
  for (int i = 0; i < 30; ++i) text += poem;
  Settings s = small_settings({directory.write("poems", text)});
  s.d_model = 32, s.layers = 2, s.dropout = 0;
  s.loop_settings.max_epochs = 6;
  s.loop_settings.lr = 0.01, s.loop_settings.warmup = 20;
  LanguageTask task(s, "");
  const std::string run = directory.path("run");
  RunFolder::create(run);
  training::train(task, s, s.loop(), run, Start::anew);
  const Validation v = task.validate();
  CHECK(v.loss < 0.5);  // guessing: log 257 = 5.5
  CHECK(v.figures.at(0).value > 80);
  CHECK(v.lambdas.size() == 2);
  CHECK(contains(v.samples, "fish"));
  for (const char* file : {"loss_by_position.svg", "attention.svg", "loss.svg"})
    CHECK(contains(text::read_file(run + "/" + file), "</svg>"));
}

TEST_CASE("settings of a language model: what follows from what, and what is refused") {
  const TemporaryDirectory directory;
  const std::string path = directory.write("poem", poem);
  const nlohmann::json none = nlohmann::json::object();
  const auto resolved = [&](const nlohmann::json& values) {
    Settings s;
    s.train = {path};
    s.change(values, "here");
    s.resolve();
    return s;
  };
  CHECK(resolved(none).heads.value == 2);
  CHECK(resolved({{"attention", "softmax"}}).heads.value == 4);
  CHECK(resolved({{"attention", "diff-v2"}, {"d_model", 32}}).heads.value == 1);
  CHECK(resolved(none).loop().max_epochs.value == 10);
  CHECK(resolved({{"max_updates", 5}}).loop().max_epochs.value == 0);
  CHECK_FALSE(resolved(none).model(9).head_norm.has_value());
  CHECK(resolved({{"head_norm", "no"}}).model(9).head_norm == false);
  CHECK(resolved({{"lambda_init", 0.5}}).model(9).lambda_init == Scalar(0.5));
  CHECK(resolved({{"untied", true}}).model(9).tied_output == false);
  const Settings s = resolved({{"train", {path, path}}});
  CHECK(s.train.value == std::vector<std::string>{path, path});
  CHECK(s.json()["train"] == nlohmann::json{path, path});
  const auto refused = [&](const nlohmann::json& values) { return input_error(directory, [&] { resolved(values); }); };
  CHECK(refused({{"train", "one"}}) == "here: \"train\" must be a list of strings, not \"one\"");
  CHECK(refused({{"train", {"one", 2}}}) == "here: \"train\" must be a list of strings, not [\"one\",2]");
  CHECK(refused({{"train", {""}}}) == "--train: is empty");
  CHECK(refused({{"held_out", 1.0}}) == "--held-out 1: must be in [0, 1)");
  CHECK(refused({{"head_norm", "maybe"}}) == "--head-norm maybe: there are published, yes and no");
  CHECK(refused({{"attention", "softmax"}, {"lambda_init", 0.5}}) ==
        "--lambda-init is of --attention diff, not of softmax");
}
