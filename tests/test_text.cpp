// The text side of examples/translate: made-up tasks, files, vocabulary, BLEU, batches, charts, progress.
#include <doctest/doctest.h>
#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>
#include <string_view>
#include <tuple>

#include "examples/translate/batches.h"
#include "examples/translate/bleu.h"
#include "examples/translate/charts.h"
#include "examples/translate/chrf.h"
#include "examples/translate/corpus.h"
#include "examples/translate/data.h"
#include "examples/translate/history.h"
#include "examples/translate/progress.h"
#include "examples/translate/settings.h"
#include "examples/translate/tasks.h"
#include "examples/translate/train_log.h"
#include "examples/translate/unicode.h"
#include "examples/translate/vocabulary.h"
#include "tests/testing.h"

namespace {

using namespace translate;
using difftensor::Random;

// A directory for one test's files.
class TemporaryDirectory {
 public:
  std::string path(const std::string& name) const { return (folder_.path / name).string(); }
  std::string write(const std::string& name, const std::string& bytes) const {
    write_file(path(name), bytes);
    return path(name);
  }

 private:
  TemporaryFolder folder_;
};

// The message of the InputError that `f` throws, without the directory.
template <class F>
std::string input_error(const TemporaryDirectory& directory, F f) {
  try {
    f();
  } catch (const InputError& error) {
    std::string message = error.what();
    for (size_t at; (at = message.find(directory.path(""))) != std::string::npos;)
      message.erase(at, directory.path("").size());
    return message;
  }
  return "no error";
}

}  // namespace

// --- Tasks --------------------------------------------------------------------------------------------------------

TEST_CASE("numbers in words") {
  struct Row {
    int number;
    const char *english, *german;
  };
  for (const Row& row : std::vector<Row>{
           {0, "zero", "null"},
           {1, "one", "eins"},
           {12, "twelve", "zwölf"},
           {16, "sixteen", "sechzehn"},
           {17, "seventeen", "siebzehn"},
           {20, "twenty", "zwanzig"},
           {21, "twenty-one", "einundzwanzig"},
           {30, "thirty", "dreißig"},
           {66, "sixty-six", "sechsundsechzig"},
           {77, "seventy-seven", "siebenundsiebzig"},
           {100, "one hundred", "einhundert"},
           {101, "one hundred one", "einhunderteins"},
           {111, "one hundred eleven", "einhundertelf"},
           {741, "seven hundred forty-one", "siebenhunderteinundvierzig"},
           {1000, "one thousand", "eintausend"},
           {1001, "one thousand one", "eintausendeins"},
           {11011, "eleven thousand eleven", "elftausendelf"},
           {21000, "twenty-one thousand", "einundzwanzigtausend"},
           {80070, "eighty thousand seventy", "achtzigtausendsiebzig"},
           {100000, "one hundred thousand", "einhunderttausend"},
           {101001, "one hundred one thousand one", "einhunderteintausendeins"},
           {201316, "two hundred one thousand three hundred sixteen", "zweihunderteintausenddreihundertsechzehn"},
           {999999, "nine hundred ninety-nine thousand nine hundred ninety-nine",
            "neunhundertneunundneunzigtausendneunhundertneunundneunzig"}}) {
    CHECK(english(row.number) == row.english);
    CHECK(german(row.number) == row.german);
  }
}

TEST_CASE("splits do not overlap, and follow the seed") {
  for (const auto make : {make_numbers, make_reverse}) {
    const Splits splits = make(20'000, 7);
    CHECK(splits.train.size() == 20'000);
    CHECK(splits.valid.size() == 500);
    CHECK(splits.test.size() == 1000);
    std::set<std::string> train, held_out;
    for (const Pair& pair : splits.train) train.insert(pair.source);
    for (const auto* part : {&splits.valid, &splits.test})
      for (const Pair& pair : *part) {
        CHECK(!train.contains(pair.source));
        CHECK(held_out.insert(pair.source).second);
      }
    const auto sources = [](const std::vector<Pair>& pairs) {
      std::vector<std::string> all;
      for (const Pair& pair : pairs) all.push_back(pair.source);
      return all;
    };
    const Splits again = make(20'000, 7), other = make(20'000, 8);
    CHECK(sources(again.train) == sources(splits.train));
    CHECK(sources(other.train) != sources(splits.train));
    CHECK(sources(other.test) == sources(splits.test));
  }
}

TEST_CASE("tasks have the form they promise") {
  const Splits numbers = make_numbers(20'000, 1), letters = make_reverse(1000, 1);
  // A sixth of the numbers has one digit, a sixth two, and each of these 100 occurs.
  std::map<std::string, int> small;
  for (int n = 0; n < 100; ++n) small[english(n)] = 0;
  int count = 0;
  for (const Pair& pair : numbers.train)
    if (const auto found = small.find(pair.source); found != small.end()) ++found->second, ++count;
  CHECK(count == 20'000 / 6 * 2 + 2);
  for (const auto& [words, times] : small) CHECK_MESSAGE(times > 0, words);

  size_t shortest = 99, longest = 0;
  for (const Pair& pair : letters.train) {
    CHECK(pair.target == std::string(pair.source.rbegin(), pair.source.rend()));
    shortest = std::min(shortest, (pair.source.size() + 1) / 2);
    longest = std::max(longest, (pair.source.size() + 1) / 2);
  }
  CHECK(shortest == 3);
  CHECK(longest == 12);
}

// --- Files --------------------------------------------------------------------------------------------------------

TEST_CASE("parallel text is read as it is") {
  const TemporaryDirectory directory;
  const std::string a = directory.write("a", "one\r\n two  \nthree\twords");
  const std::string b = directory.write("b", "eins\nzwei\ndreißig 漢 𝄞\n");
  const auto pairs = read_parallel(a, b);
  REQUIRE(pairs.size() == 3);
  CHECK(pairs[0].source == "one");
  CHECK(pairs[1].source == " two  ");
  CHECK(pairs[2].source == "three\twords");
  CHECK(pairs[2].target == "dreißig 漢 𝄞");

  const auto table = read_tsv(directory.write("t", "one\teins\r\ntwo three\tzwei drei\n"));
  REQUIRE(table.size() == 2);
  CHECK(table[0].target == "eins");
  CHECK(table[1].source == "two three");

  std::istringstream in("a\n\n b \r\n");
  CHECK(read_lines(in, "stdin") == std::vector<std::string>{"a", "", " b "});
}

TEST_CASE("faults in parallel text are named with file and line") {
  const TemporaryDirectory directory;
  const auto two = [&](const std::string& a, const std::string& b) {
    const std::string a_path = directory.write("a", a), b_path = directory.write("b", b);
    return input_error(directory, [&] { read_parallel(a_path, b_path); });
  };
  const auto table = [&](const std::string& bytes) {
    const std::string path = directory.write("t", bytes);
    return input_error(directory, [&] { read_tsv(path); });
  };
  const auto file = [&](const std::string& name) {
    return input_error(directory, [&] { read_lines(directory.path(name)); });
  };
  CHECK(two("x\ny\n", "x\n") == "a has 2 lines, but b has 1");
  CHECK(two("", "x\n") == "a: the file is empty");
  CHECK(two("x\n", "") == "b: the file is empty");
  CHECK(two("x\n\ny\n", "x\ny\nz\n") == "a:2: the line is empty");
  CHECK(two("x\ny\n", "x\n \t \r\n") == "b:2: the line is empty");
  CHECK(two("x\nab\xFF\n", "x\ny\n") == "a:2: byte 3 is not valid UTF-8");
  CHECK(table("x\ty\nno tab\n") == "t:2: expected source, one tab, target; found 0 tabs");
  CHECK(table("a\tb\tc\n") == "t:1: expected source, one tab, target; found 2 tabs");
  CHECK(table("a\tb\n\tc\n") == "t:2: the source is empty");
  CHECK(table("a\t\n") == "t:1: the target is empty");
  CHECK(table("a\tb\n\n") == "t:2: the line is empty");
  CHECK(table("") == "t: the file is empty");
  CHECK(file("missing") == "missing: cannot open: No such file or directory");
  std::filesystem::create_directory(directory.path("folder"));
  CHECK(file("folder") == "folder: cannot read: Is a directory");
  CHECK(input_error(directory, [&] { read_file(directory.path("folder")); }) == "folder: cannot read: Is a directory");
}

TEST_CASE("UTF-8 is checked byte by byte") {
  const auto valid = [](const std::string& text) {
    std::istringstream in(text);
    try {
      return read_lines(in, "text"), true;
    } catch (const InputError&) {
      return false;
    }
  };
  for (const char* good : {"\x7F", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
                           "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"})
    CHECK(valid(good));
  for (const char* bad :
       {"\x80", "\xC1\xBF", "\xC3", "\xC3(", "\xE0\x9F\xBF", "\xE2\x82", "\xE2(\xAC", "\xED\xA0\x80", "\xEF\xBF(",
        "\xF0\x8F\xBF\xBF", "\xF0\x9F\x98", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFE"})
    CHECK(!valid(bad));
}

TEST_CASE("a file is written whole or not at all") {
  const TemporaryDirectory directory;
  const std::string bytes("a\0b\r\n\xFF", 6), path = directory.write("f", bytes);
  CHECK(read_file(path) == bytes);
  CHECK(read_file(directory.write("f", "")) == "");
  CHECK_THROWS_WITH_AS(write_file("none/f", "x"), "none/f: cannot write: No such file or directory",
                       std::runtime_error);
  if (std::filesystem::exists("/dev/full")) {
    std::filesystem::create_symlink("/dev/full", directory.path("f.tmp"));
    CHECK_THROWS_WITH_AS(write_file(path, std::string(100'000, 'x')),
                         (path + ": cannot write: No space left on device").c_str(), std::runtime_error);
    CHECK(!std::filesystem::exists(directory.path("f.tmp")));
    CHECK(read_file(path) == "");
  }
}

TEST_CASE("writing to a link or a device leaves it what it is") {
  namespace fs = std::filesystem;
  const TemporaryDirectory directory;
  const std::string file = directory.write("file", "before"), link = directory.path("link");
  fs::create_symlink("file", link);
  write_file(link, "after");
  CHECK(fs::is_symlink(link));
  CHECK(read_file(file) == "after");
  const std::string device = directory.path("device");
  fs::create_symlink("/dev/null", device);
  write_file(device, "nothing");
  CHECK(fs::is_character_file(device));
  CHECK(!fs::exists(directory.path("device.tmp")));
}

// --- Vocabulary ---------------------------------------------------------------------------------------------------

TEST_CASE("text goes through the vocabulary and comes back as it was") {
  const std::vector<std::string> sentences = {
      "Two young, White males are outside near many bushes.",
      "Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche.",
      "no\u00a0break, „quotes“ – 漢字 é e\u0301 ﬁ Å",
  };
  const Vocabulary vocabulary = Vocabulary::train(sentences, 120);
  CHECK(vocabulary.size() == 120);
  for (const char* text : {"", "a", " a", "  a", "a  b   c", "a ", " ", "   ", "\t", "\ta", "a\tb", " \t ",
                           "weiße Busche", "no\u00a0break", "é e\u0301 ﬁ Å", "漢字漢", "are, out–side."})
    CHECK(vocabulary.decode(vocabulary.encode(text)) == text);
  for (const std::string& sentence : sentences) CHECK(vocabulary.decode(vocabulary.encode(sentence)) == sentence);

  CHECK(vocabulary.encode("Z字x").back() == Vocabulary::unknown);
  CHECK(vocabulary.decode({Vocabulary::bos, Vocabulary::eos, Vocabulary::pad}) == "");
  for (const int32_t special : {Vocabulary::pad, Vocabulary::bos, Vocabulary::eos}) {
    const auto ids = vocabulary.encode("<s> </s> <pad>");  // as text, not as tokens
    CHECK(std::count(ids.begin(), ids.end(), special) == 0);
  }
  for (const int32_t id : {-1, vocabulary.size()}) {
    CHECK_THROWS_AS(vocabulary.decode({id}), std::invalid_argument);
    CHECK_THROWS_AS(vocabulary.piece(id), std::invalid_argument);
  }
}

TEST_CASE("a vocabulary is saved, and learned again the same") {
  const TemporaryDirectory directory;
  std::vector<std::string> sentences;
  for (const Pair& pair : make_numbers(500, 1).train) sentences.insert(sentences.end(), {pair.source, pair.target});
  const Vocabulary learned = Vocabulary::train(sentences, 200);
  CHECK(learned.model() == Vocabulary::train(sentences, 200).model());

  const std::string path = directory.write("vocabulary.model", learned.model());
  const Vocabulary loaded = Vocabulary::load(path);
  CHECK(loaded.size() == 200);
  CHECK(loaded.encode(sentences[0]) == learned.encode(sentences[0]));

  const auto load = [&](const std::string& bytes) {
    const std::string bad = directory.write("bad", bytes);
    return input_error(directory, [&] { Vocabulary::load(bad); });
  };
  CHECK(load(learned.model().substr(0, learned.model().size() / 2)) == "bad: not a SentencePiece model");
  CHECK(load("not a model") == "bad: not a SentencePiece model");
  CHECK(load("") == "bad: not a SentencePiece model");
}

TEST_CASE("a vocabulary takes what size it can") {
  CHECK(Vocabulary::train({"a b", "c"}, 8000).size() < 15);
  const TemporaryDirectory directory;
  CHECK(contains(input_error(directory, [] { Vocabulary::train({"a b", "c"}, 7); }), "7 pieces is too small"));
  CHECK(contains(input_error(directory, [] { Vocabulary::train({}, 100); }), "no text"));
  // SentencePiece by itself skips sentences over 4,192 bytes, and crashes on words of 2^15 characters.
  std::string sentence;
  while (sentence.size() < 30'000) sentence += "word ";
  const std::string longest(32'767, 'x'), too_long(70'000, 'x');
  const Vocabulary vocabulary = Vocabulary::train({sentence + "@", longest, too_long}, 60);
  CHECK(vocabulary.decode(vocabulary.encode("@")) == "@");
  const std::string word(200'000, 'x');
  CHECK(vocabulary.decode(vocabulary.encode(word)) == word);
}

// --- BLEU ---------------------------------------------------------------------------------------------------------

TEST_CASE("BLEU by hand") {
  // 4, 2, 1 and 0 of the 5, 4, 3 and 2 n-grams match; the last is smoothed to a half; 5 words for 8.
  const Bleu bleu = corpus_bleu({"a b c d e"}, {"a b c x e f g h"});
  CHECK(bleu.precisions[0] == doctest::Approx(80));
  CHECK(bleu.precisions[1] == doctest::Approx(50));
  CHECK(bleu.precisions[2] == doctest::Approx(100. / 3));
  CHECK(bleu.precisions[3] == doctest::Approx(25));
  CHECK(bleu.brevity_penalty == doctest::Approx(std::exp(1 - 8. / 5)));
  CHECK(bleu.score == doctest::Approx(100 * std::exp(-0.6) * std::pow(0.8 * 0.5 / 3 * 0.25, 0.25)));
  CHECK(bleu.format() ==
        "BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:difftensor = 23.45 80.0/50.0/33.3/25.0 "
        "(BP = 0.549 ratio = 0.625 hyp_len = 5 ref_len = 8)");
  CHECK_THROWS_AS(corpus_bleu({"a"}, {}), std::invalid_argument);
  CHECK(corpus_bleu({}, {}).score == 0);
}

TEST_CASE("BLEU is sacreBLEU's") {
  // Computed by sacrebleu 2.6.0.
  struct Row {
    std::vector<std::string> hypotheses, references;
    BleuOptions options;
    const char* expected;
  };
  const BleuOptions none{.tokenize = false}, lowercase{.lowercase = true};
  for (const Row& row : std::vector<Row>{
           {{"Ein Hund rennt."},
            {"Ein Hund rennt."},
            {},
            "100.00 100.0/100.0/100.0/100.0 (BP = 1.000 ratio = 1.000 hyp_len = 4 ref_len = 4)"},
           {{"Ein Hund rennt."},
            {"Ein Hund rennt."},
            none,
            "0.00 100.0/100.0/100.0/0.0 (BP = 1.000 ratio = 1.000 hyp_len = 3 ref_len = 3)"},
           {{"the the the the the the the"},
            {"the cat is on the mat"},
            {},
            "7.81 28.6/8.3/5.0/3.1 (BP = 1.000 ratio = 1.167 hyp_len = 7 ref_len = 6)"},
           {{"Ein Mann fährt Rad.", "Zwei Hunde spielen im Schnee."},
            {"Ein Mann fährt auf einem Rad.", "Zwei Hunde spielen im tiefen Schnee."},
            {},
            "38.68 100.0/77.8/42.9/20.0 (BP = 0.761 ratio = 0.786 hyp_len = 11 ref_len = 14)"},
           {{"Ein Mann fährt Rad.", "Zwei Hunde spielen im Schnee."},
            {"Ein Mann fährt auf einem Rad.", "Zwei Hunde spielen im tiefen Schnee."},
            none,
            "44.05 100.0/71.4/60.0/33.3 (BP = 0.717 ratio = 0.750 hyp_len = 9 ref_len = 12)"},
           {{"It costs 3.50, or 1,000.5 (approx.)."},
            {"It costs 3.50 or 1,000.5 (approx.)!"},
            {},
            "58.77 81.8/70.0/55.6/37.5 (BP = 1.000 ratio = 1.100 hyp_len = 11 ref_len = 10)"},
           {{"A dog-like 5-3 result, isn't it?"},
            {"A dog-like 5-3 result is it?"},
            {},
            "58.14 80.0/66.7/50.0/42.9 (BP = 1.000 ratio = 1.111 hyp_len = 10 ref_len = 9)"},
           {{"&quot;Hi&quot; &amp; &lt;bye&gt; now then"},
            {"\"Hi\" & <bye> now then"},
            {},
            "100.00 100.0/100.0/100.0/100.0 (BP = 1.000 ratio = 1.000 hyp_len = 9 ref_len = 9)"},
           {{"&quot;Hi&quot; &amp; &lt;bye&gt; now then"},
            {"\"Hi\" & <bye> now then"},
            none,
            "21.36 40.0/25.0/16.7/12.5 (BP = 1.000 ratio = 1.000 hyp_len = 5 ref_len = 5)"},
           {{"ein\u00a0Haus am See steht hier"},
            {"ein Haus am See steht dort"},
            {},
            "75.98 83.3/80.0/75.0/66.7 (BP = 1.000 ratio = 1.000 hyp_len = 6 ref_len = 6)"},
           {{"ÄPFEL UND BIRNEN SIND OBST"},
            {"äpfel und birnen sind obst"},
            {},
            "0.00 0.0/0.0/0.0/0.0 (BP = 1.000 ratio = 1.000 hyp_len = 5 ref_len = 5)"},
           {{"ÄPFEL UND BIRNEN SIND OBST"},
            {"äpfel und birnen sind obst"},
            lowercase,
            "100.00 100.0/100.0/100.0/100.0 (BP = 1.000 ratio = 1.000 hyp_len = 5 ref_len = 5)"},
           {{"a.,b ... 1., 2.x ,3 end"},
            {"a., b ... 1. , 2.x ,3 end"},
            {},
            "100.00 100.0/100.0/100.0/100.0 (BP = 1.000 ratio = 1.000 hyp_len = 16 ref_len = 16)"},
           {{""}, {"a b c d"}, {}, "0.00 0.0/0.0/0.0/0.0 (BP = 0.000 ratio = 0.000 hyp_len = 0 ref_len = 4)"},
       }) {
    const std::string line = corpus_bleu(row.hypotheses, row.references, row.options).format();
    CHECK(line.substr(line.find(" = ") + 3) == row.expected);
  }
}

TEST_CASE("chrF is sacreBLEU's") {
  struct Row {
    const char *hypothesis, *reference, *score;
  };
  for (const Row& row : std::vector<Row>{{"the the the", "the cat is", "15.45"},
                                         {"die Katzen", "die Katze", "96.17"},
                                         {"日本 語", "日本語です", "53.35"},
                                         {"e\u0301té", "été", "36.01"},
                                         {"a", "abcdefgh", "15.15"},
                                         {"ab", "ab", "100.00"},
                                         {"abc", "xyz", "0.00"},
                                         {"", "a b", "0.00"},
                                         {"a b", "", "0.00"},
                                         {"", "", "0.00"}})
    CHECK(corpus_chrf({row.hypothesis}, {row.reference}).format() ==
          std::string("chrF2|nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:difftensor = ") + row.score);
  CHECK_THROWS_AS(corpus_chrf({"a"}, {}), std::invalid_argument);
  CHECK(corpus_chrf({}, {}).score == 0);
}

TEST_CASE("a test set's lines are those of sacrebleu --confidence") {
  const std::vector<std::string> hypotheses = {"Ein Mann fährt Rad.",
                                               "Zwei Hunde spielen im Schnee.",
                                               "",
                                               "Das kostet 3,50 €, oder?",
                                               "Eine Frau, die liest",
                                               "ΟΔΟΣ „quer“ 5-3",
                                               "Kinder spielen am Strand."},
                                 references = {"Ein Mann fährt auf einem Rad.",
                                               "Zwei Hunde spielen im tiefen Schnee.",
                                               "Nichts.",
                                               "Das kostet 3.50 €, nicht wahr?",
                                               "Eine Frau liest.",
                                               "οδος „quer“ 5-4",
                                               "Kinder spielen am Strand."};
  const auto bleu = [&](bool lowercase, bool tokenize) {
    return corpus_bleu(hypotheses, references, {lowercase, tokenize, /*confidence=*/true}).format();
  };
  CHECK(bleu(false, true) ==
        "BLEU|nrefs:1|bs:1000|seed:12345|case:mixed|eff:no|tok:13a|smooth:exp|version:difftensor = 36.44 "
        "(μ = 35.47 ± 22.84) 81.8/59.3/33.3/20.0 (BP = 0.859 ratio = 0.868 hyp_len = 33 ref_len = 38)");
  CHECK(bleu(true, true) ==
        "BLEU|nrefs:1|bs:1000|seed:12345|case:lc|eff:no|tok:13a|smooth:exp|version:difftensor = 41.48 "
        "(μ = 40.67 ± 24.28) 84.8/63.0/38.1/26.7 (BP = 0.859 ratio = 0.868 hyp_len = 33 ref_len = 38)");
  CHECK(bleu(false, false) ==
        "BLEU|nrefs:1|bs:1000|seed:12345|case:mixed|eff:no|tok:none|smooth:exp|version:difftensor = 37.49 "
        "(μ = 36.63 ± 25.83) 72.0/47.4/38.5/28.6 (BP = 0.852 ratio = 0.862 hyp_len = 25 ref_len = 29)");
  CHECK(corpus_chrf(hypotheses, references, {false, true}).format() ==
        "chrF2|nrefs:1|bs:1000|seed:12345|case:mixed|eff:yes|nc:6|nw:0|space:no|version:difftensor = 63.67 "
        "(μ = 63.06 ± 15.95)");
  CHECK(corpus_chrf(hypotheses, references, {true, true}).format() ==
        "chrF2|nrefs:1|bs:1000|seed:12345|case:lc|eff:yes|nc:6|nw:0|space:no|version:difftensor = 67.20 "
        "(μ = 66.79 ± 16.27)");
}

TEST_CASE("whitespace and case are Python's") {
  using Words = std::vector<std::string_view>;
  CHECK(split("") == Words{});
  CHECK(split(" \t\u00a0") == Words{});
  CHECK(split(" ein\u3000Haus\x1c"
              "am  See ") == Words{"ein", "Haus", "am", "See"});
  CHECK(split("null\u200bbreit") == Words{"null\u200bbreit"});
  CHECK(to_lower("ÄẞǅⒶ İ ΟΔΟΣ, Σ. ΣΑΣ'") == "äßǆⓐ i\u0307 οδος, σ. σας'");
  CHECK(to_lower(std::string("A\0B", 3)) == std::string("a\0b", 3));
}

// --- Batches ------------------------------------------------------------------------------------------------------

namespace {

std::vector<Example> some_examples(size_t count) {
  Random random(5);
  std::vector<Example> examples(count);
  for (auto& [source, target] : examples) {
    for (uint64_t n = 1 + random.below(30); n > 0; --n) source.push_back(4 + static_cast<int32_t>(random.below(90)));
    target = source;
    target.resize(1 + random.below(30), 99);
    source.push_back(Vocabulary::eos);
    target.insert(target.begin(), Vocabulary::bos);
    target.push_back(Vocabulary::eos);
  }
  return examples;
}

std::vector<std::vector<size_t>> indices(const std::vector<Batch>& batches) {
  std::vector<std::vector<size_t>> all;
  for (const Batch& batch : batches) all.push_back(batch.examples);
  return all;
}

}  // namespace

TEST_CASE("batches hold every example once, within the budget") {
  const auto examples = some_examples(1000);
  Random random(1);
  const std::vector<Batch> sorted = sorted_batches(examples, 200);
  const std::vector<Batch> shuffled = shuffled_batches(examples, static_cast<int64_t>(sorted.size()), random);
  for (auto* batches : {&sorted, &shuffled}) {
    std::vector<int> seen(examples.size());
    for (const Batch& batch : *batches) {
      size_t source_at = 0, target_at = 0;
      for (size_t b = 0; b < batch.examples.size(); ++b) {
        const auto& [source, target] = examples[batch.examples[b]];
        ++seen[batch.examples[b]];
        REQUIRE(batch.source_lengths[b] == static_cast<int64_t>(source.size()));
        REQUIRE(batch.target_lengths[b] == static_cast<int64_t>(target.size() - 1));
        CHECK(std::equal(source.begin(), source.end(), batch.source.begin() + source_at));
        CHECK(std::equal(target.begin(), target.end() - 1, batch.target_in.begin() + target_at));
        CHECK(std::equal(target.begin() + 1, target.end(), batch.target_out.begin() + target_at));
        source_at += source.size();
        target_at += target.size() - 1;
      }
      CHECK(batch.source.size() == source_at);
      CHECK(batch.target_in.size() == target_at);
      CHECK(batch.target_out.size() == target_at);
      CHECK(batch.tokens == static_cast<int64_t>(source_at + target_at));
    }
    CHECK(std::all_of(seen.begin(), seen.end(), [](int times) { return times == 1; }));
  }
  int64_t tokens = 0;
  for (const Batch& batch : sorted) {
    const int64_t longest = std::max(std::ranges::max(batch.source_lengths), std::ranges::max(batch.target_lengths));
    CHECK(longest * static_cast<int64_t>(batch.examples.size()) <= 200);
    tokens += batch.tokens;
  }
  CHECK(shuffled.size() == sorted.size());
  for (const Batch& batch : shuffled)  // equal, but for half a sentence of at most 62 tokens at each end
    CHECK(std::abs(batch.tokens - tokens / static_cast<int64_t>(shuffled.size())) <= 63);

  // A sentence longer than the budget is not lost, and leaves no batch empty.
  const std::vector<Example> uneven = {{{5, 6, 7, 8, 9, 2}, {1, 5, 2}}, {{5, 2}, {1, 2}}, {{6, 2}, {1, 2}}};
  for (const auto& batches : {sorted_batches(uneven, 3), shuffled_batches(uneven, 3, random)}) {
    CHECK(batches.size() == 3);
    for (const Batch& batch : batches) CHECK(batch.examples.size() == 1);
  }
  CHECK(sorted_batches({}, 100).empty());
  CHECK(shuffled_batches({}, 0, random).empty());
}

TEST_CASE("shuffled batches follow the seed, and mix sentences of up to twice the length") {
  const auto examples = some_examples(1000);
  Random first(3), again(3), other(4);
  const auto count = static_cast<int64_t>(sorted_batches(examples, 300).size());
  const auto batches = shuffled_batches(examples, count, first);
  const auto order = indices(batches);
  CHECK(order == indices(shuffled_batches(examples, count, again)));
  CHECK(order != indices(shuffled_batches(examples, count, other)));
  CHECK(order != indices(shuffled_batches(examples, count, first)));  // the next epoch

  std::vector<size_t> sorted;
  for (const Batch& batch : sorted_batches(examples, 300))
    sorted.insert(sorted.end(), batch.examples.begin(), batch.examples.end());
  const auto key = [&](size_t i) { return std::tuple(examples[i].source.size(), examples[i].target.size(), i); };
  CHECK(std::is_sorted(sorted.begin(), sorted.end(), [&](size_t a, size_t b) { return key(a) < key(b); }));

  int mixed = 0;
  for (const Batch& batch : batches) {
    std::vector<int64_t> lengths;
    for (size_t b = 0; b < batch.examples.size(); ++b)
      lengths.push_back(batch.source_lengths[b] + batch.target_lengths[b]);
    const int64_t longest = std::ranges::max(lengths), shortest = std::ranges::min(lengths);
    CHECK(longest <= 2 * shortest + 10);  // 10: the least and the most that any batch collects differ, too
    mixed += longest > shortest + shortest / 3;
  }
  CHECK(mixed > static_cast<int>(batches.size()) / 2);
}

TEST_CASE("micro-batches hold every sentence once, in order, and are about equally large") {
  std::vector<Example> examples;
  Random random(4);
  for (int i = 0; i < 400; ++i) {
    Example e;
    e.source.assign(1 + random.below(20), 5 + i);
    e.target.assign(2 + random.below(20), 5 + i);
    examples.push_back(e);
  }
  for (const int64_t batch_tokens : {50, 1000, 4096})
    for (const Batch& batch : sorted_batches(examples, batch_tokens)) {
      const std::vector<Batch> pieces = micro_batches(batch, 100);
      CHECK((pieces.size() <= size_t{batch_parts} || pieces.size() % batch_parts == 0));
      Batch joined;
      for (const Batch& piece : pieces) {
        const auto join = [](auto& all, const auto& part) { all.insert(all.end(), part.begin(), part.end()); };
        join(joined.source, piece.source);
        join(joined.target_in, piece.target_in);
        join(joined.target_out, piece.target_out);
        join(joined.source_lengths, piece.source_lengths);
        join(joined.target_lengths, piece.target_lengths);
        join(joined.examples, piece.examples);
        joined.tokens += piece.tokens;
        CHECK(std::abs(piece.tokens - batch.tokens / static_cast<int64_t>(pieces.size())) <= 42);
      }
      CHECK(joined.source == batch.source);
      CHECK(joined.target_in == batch.target_in);
      CHECK(joined.target_out == batch.target_out);
      CHECK(joined.source_lengths == batch.source_lengths);
      CHECK(joined.target_lengths == batch.target_lengths);
      CHECK(joined.examples == batch.examples);
      CHECK(joined.tokens == batch.tokens);
    }
}

TEST_CASE("shuffles and dropout never draw the same numbers") {
  std::set<uint64_t> drawn;
  for (int64_t n = 1; n <= 1000; ++n)
    for (const uint64_t stream :
         {static_cast<uint64_t>(n), shuffle_stream(n), dropout_stream(n, 0), dropout_stream(n, 1)})
      CHECK(drawn.insert(Random(1, stream).bits()).second);
}

TEST_CASE("a sentence that is too long is named by its file, line and side") {
  const TemporaryDirectory directory;
  const std::vector<Pair> pairs = {{"a b", "b a", 7}, {"a b", "b a b a b a b a", 9}};
  const Vocabulary vocabulary = Vocabulary::train({"a b", "b a"}, 10);
  const auto message = [&](const std::vector<Pair>& some, int64_t limit) {
    return input_error(directory, [&] { encode(some, vocabulary, limit, {"x.en", "x.de"}); });
  };
  const size_t longest = vocabulary.encode(pairs[1].target).size() + 1;
  CHECK(message(pairs, 2).starts_with("x.en:7: the source has "));
  CHECK(message(pairs, static_cast<int64_t>(longest) - 1) == "x.de:9: the target has " + std::to_string(longest) +
                                                                 " tokens, more than --max-length " +
                                                                 std::to_string(longest - 1));
  CHECK(message(pairs, static_cast<int64_t>(longest)) == "no error");
}

// --- Settings and logs --------------------------------------------------------------------------------------------

TEST_CASE("settings default to what they are for") {
  Settings task, files, updates;
  files.train = "pairs.tsv";
  updates.max_updates = 7;
  for (Settings* s : {&task, &files, &updates}) s->resolve();
  CHECK(task.task == "numbers");
  CHECK(task.preset == "toy");
  CHECK(task.max_epochs == 2);
  CHECK(files.task == "");
  CHECK(files.preset == "tiny");
  CHECK(files.dropout == 0.1);
  CHECK(files.d_model == 128);
  CHECK(files.heads == 2);
  CHECK(updates.max_epochs == 0);

  // Resolved settings stay what they are, also on their way through a file.
  const nlohmann::json once = files;
  const TemporaryDirectory directory;
  Settings read = Settings::read(directory.write("config.json", once.dump()));
  read.resolve();
  CHECK(nlohmann::json(read) == once);

  read.change({{"preset", "small"}, {"layers", 5}}, "flags");
  read.resolve();
  CHECK(read.d_model == 256);
  CHECK(read.layers == 5);
  read.change({{"attention", "softmax"}}, "flags");
  read.resolve();
  CHECK(read.d_model == 256);
  CHECK(read.heads == 8);
}

TEST_CASE("a log is cut back to where a training goes on") {
  const TemporaryDirectory directory;
  const std::string path = directory.write("log.csv", "old header\nx,1,a\ny,2,\ntoo,3\nx,4,b\nx,2,c\nx,2,torn");
  {
    TrainLog log(path, "kind,update,text", 3);
    CHECK(log.lines() == std::vector<std::vector<std::string>>{{"x", "1", "a"}, {"y", "2", ""}, {"x", "2", "c"}});
    log.line("z,%d,%s", 3, std::string(1000, 'd').c_str());
    CHECK(log.lines().back()[2].size() == 1000);
  }
  CHECK(read_file(path) == "kind,update,text\nx,1,a\ny,2,\nx,2,c\nz,3," + std::string(1000, 'd') + "\n");
  TrainLog fresh(directory.path("new.csv"), "update", 0);
  CHECK(fresh.lines().empty());
  CHECK_THROWS_WITH_AS(TrainLog("none/log.csv", "update", 0), "none/log.csv: cannot write: No such file or directory",
                       std::runtime_error);
}

// --- What is shown ------------------------------------------------------------------------------------------------

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
  CHECK(h.bleu.at(0).x == 60);
  CHECK(h.bleu.at(0).y == 11.25);
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
  CHECK(progress_line(0, 0, 0, "", 80).starts_with("100% "));
  CHECK(contains(progress_line(1, 100'001, 10, "", 80), "2:46:40 left"));
  for (int columns = 1; columns < 120; ++columns) {
    const std::string line = progress_line(123'456, 1'000'000, 0.01, "loss 3.214", columns);
    const auto shown = std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xC0) != 0x80; });
    CHECK(shown <= std::max(columns, 5));
  }
}
