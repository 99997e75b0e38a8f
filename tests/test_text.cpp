// examples/text: files, lines, characters, vocabulary.
#include <fcntl.h>
#include <sentencepiece_trainer.h>

#include <map>
#include <sstream>
#include <unordered_map>

#include "core/files.h"
#include "examples/text/corpus.h"
#include "examples/text/encoder.h"
#include "examples/text/escapes.h"
#include "examples/text/unicode.h"
#include "examples/text/vocabulary.h"
#include "examples/translate/toy_corpora.h"
#include "tests/example_files.h"

using namespace text;
using translate::make_numbers;

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

TEST_CASE("a file that is replaced stays as private as it was; one that is open is gone on with") {
  namespace fs = std::filesystem;
  const TemporaryDirectory directory;
  const std::string file = directory.write("file", "before");
  fs::permissions(file, fs::perms::owner_read | fs::perms::owner_write);
  write_file(file, "after");
  CHECK(fs::status(file).permissions() == (fs::perms::owner_read | fs::perms::owner_write));
  // As stdout is, redirected to a file: what is written to it before and after stays.
  difftensor::File log(directory.path("log"), O_WRONLY | O_CREAT, "log");
  const std::string number = std::to_string(log.descriptor()), link = directory.path("link");
  log.write("first ");
  write_file("/dev/fd/" + number, "second ");
  fs::create_symlink("/proc/self/fd/" + number, link);
  write_file(link, "third ");
  log.write("last");
  CHECK(read_file(directory.path("log")) == "first second third last");
}

TEST_CASE("whitespace and case are Python's") {
  using Words = std::vector<std::string_view>;
  CHECK(split("") == Words{});
  CHECK(split(" \t\u00a0") == Words{});
  CHECK(split(" ein\u3000Haus\x1c"
              "am  See ") == Words{"ein", "Haus", "am", "See"});
  CHECK(split("null\u200bbreit") == Words{"null\u200bbreit"});
  CHECK(to_lower("ÄẞǅⒶ İ ΟΔΟΣ, Σ. ΣΑΣ'") == "äßǆⓐ i\u0307 οδος, σ. σας'");
  for (const char* text : {"\xff", "a\xc3", "\xf4\x90\x80\x80"}) CHECK_THROWS_AS(to_lower(text), std::invalid_argument);
  CHECK(to_lower(std::string("A\0B", 3)) == std::string("a\0b", 3));
}

// --- Sentences ----------------------------------------------------------------------------------------------------

TEST_CASE("sentences come back from the numbers of their words") {
  std::vector<std::string> texts = {"", " ", "   ", "a", " a", "a ", "a  b a", "\t", "a\u00a0b c", "ein Haus"};
  for (int i = 0; i < 20'000; ++i) texts.push_back("word" + std::to_string(i) + " a");  // numbers of one to three bytes
  Sentences sentences;
  for (const std::string& text : texts) sentences.add(text);
  REQUIRE(sentences.size() == texts.size());
  bool all = true;
  for (size_t i = 0; i < texts.size(); ++i) all = all && sentences.text(i) == texts[i];
  CHECK(all);
  CHECK(sentences.words() == 20'008);
  std::map<std::string, int64_t> counts;
  for (uint32_t number = 0; number < sentences.words(); ++number)
    counts[std::string(sentences.word(number))] = sentences.count(number);
  CHECK(counts[""] == 9);
  CHECK(counts["a"] == 20'005);
  CHECK(counts["a\u00a0b"] == 1);
  sentences.add("a  b a");
  CHECK(sentences.are_same(6, texts.size()));
  CHECK(sentences.hash(6) == sentences.hash(texts.size()));
  CHECK(!sentences.are_same(5, 6));

  sentences.remove_if([](size_t i) { return i % 2 == 0; });
  CHECK(sentences.size() == texts.size() / 2);
  for (const size_t i : {0, 1, 2, 4, 9'000}) CHECK(sentences.text(i) == texts[2 * i + 1]);
  for (uint32_t number = 0; number < sentences.words(); ++number)
    if (sentences.word(number) == "b") CHECK(sentences.count(number) == 0);
}

TEST_CASE("pairs are taken out with their lines, and reading says how far it is") {
  Pairs pairs;
  for (size_t i = 1; i < 10; ++i) pairs.add(std::to_string(i) + "s", std::to_string(i) + "t", i);
  pairs.remove_if([](size_t i) { return i % 3 == 2; });
  REQUIRE(pairs.size() == 6);
  CHECK(pairs[2].source == "4s");
  CHECK(pairs[5].target == "8t");
  CHECK(pairs[5].line == 8);

  const TemporaryDirectory directory;
  std::string lines;
  for (int i = 0; i < 9000; ++i) lines += "one\teins\n";
  int64_t told = 0;
  read_tsv(directory.write("t", lines), [&](int64_t bytes, int64_t of) {
    CHECK(of == 81'000);
    CHECK(bytes % 9 == 0);
    CHECK(bytes > told);
    told = bytes;
  });
  CHECK(told > 60'000);
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
  CHECK(vocabulary.loss("weiße", vocabulary.encode("weiße")) == Vocabulary::Loss::none);
  CHECK(vocabulary.loss("Zx", vocabulary.encode("Zx")) == Vocabulary::Loss::unknown_characters);
  CHECK(vocabulary.loss("a", vocabulary.encode("a ")) == Vocabulary::Loss::other_text);

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

TEST_CASE("what SentencePiece keeps for itself comes back") {
  const std::string null(1, '\0');
  const std::vector<std::string> hostile = {"▁",
                                            "a▁b ▁ c",
                                            "▅",
                                            "block ▅▅ block",
                                            null,
                                            "x" + null,
                                            null + null,
                                            "<s>",
                                            "</s> <unk><pad><<s>>",
                                            "<s",
                                            "\uEE00",
                                            "\uEE00s",
                                            "\uEE00\uEE00",
                                            "<\uEE00ns>",
                                            "⁇ \uEE00"};
  for (const std::string& text : hostile) {
    CHECK(unescape(escape(text)) == text);
    for (const char* reserved : {"▁", "▅", "<s>", "</s>", "<unk>", "<pad>"})
      CHECK(escape(text).find(reserved) == std::string::npos);
    CHECK(escape(text).find('\0') == std::string::npos);
  }
  CHECK(escape("all <b>other</b> text – é\t") == "all <b>other</b> text – é\t");
  CHECK(unescape("\uEE00?\uEE00") == "\uEE00?\uEE00");

  // Learned from, as every other text: not a character is unknown.
  const Vocabulary vocabulary = Vocabulary::train(hostile, 60);
  for (const std::string& text : hostile)
    CHECK(vocabulary.loss(text, vocabulary.encode(text)) == Vocabulary::Loss::none);
  // Each line has a sign that SentencePiece by itself would skip the line for.
  CHECK(Vocabulary::train({"one ▅", "two ▅"}, 60).encode("one").back() != Vocabulary::unknown);
}

TEST_CASE("a vocabulary is saved, and learned again the same") {
  const TemporaryDirectory directory;
  std::vector<std::string> sentences;
  const Pairs pairs = make_numbers(500, 1).train;
  for (size_t i = 0; i < pairs.size(); ++i) sentences.insert(sentences.end(), {pairs[i].source, pairs[i].target});
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
  std::string nameless = learned.model();  // a piece of no letters, which SentencePiece's table throws at
  nameless += std::string("\x0a\x07\x0a\x00\x15\x00\x00\x00\x00", 9);
  for (const std::string& bad :
       {learned.model().substr(0, learned.model().size() / 2), std::string("not a model"), std::string(), nameless})
    CHECK(load(bad).starts_with("bad: not a SentencePiece model: "));
}

TEST_CASE("a vocabulary takes what size it can") {
  CHECK(Vocabulary::train({"a b", "c"}, 8000).size() < 15);
  const TemporaryDirectory directory;
  CHECK(contains(input_error(directory, [] { Vocabulary::train({"a b", "c"}, 7); }), "7 pieces: Internal: "));
  CHECK(contains(input_error(directory, [] { Vocabulary::train({}, 100); }), "there is no text"));
  // SentencePiece by itself skips sentences over 4,192 bytes, and crashes on words of 2^15 characters.
  std::string sentence;
  while (sentence.size() < 30'000) sentence += "word ";
  const std::string longest(32'767, 'x'), too_long(70'000, 'x');
  const Vocabulary vocabulary = Vocabulary::train({sentence + "@", longest, too_long}, 60);
  CHECK(vocabulary.decode(vocabulary.encode("@")) == "@");
  const std::string word(200'000, 'x');
  CHECK(vocabulary.decode(vocabulary.encode(word)) == word);
}

namespace {

const std::vector<std::string> odd_texts = {"",
                                            " ",
                                            "  a",
                                            "a  b   c ",
                                            "the lazy dog",
                                            "dog\tdog the\t",
                                            "<s> <pad>",
                                            "▁ ▅ \uEE00",
                                            "Zx 漢字漢 the Z",
                                            "the\u00a0dog Straße"};

// What an encoder says of each sentence is what the vocabulary says of it as a whole.
void check_encoder(const Vocabulary& vocabulary) {
  Sentences sentences;
  for (const std::string& text : odd_texts) sentences.add(text);
  const Encoder encoder(vocabulary, sentences);
  for (size_t i = 0; i < odd_texts.size(); ++i) {
    const std::vector<int32_t> ids = vocabulary.encode(odd_texts[i]);
    CHECK_MESSAGE(encoder.ids(i) == ids, odd_texts[i]);
    CHECK(encoder.outcome(i).length == static_cast<int32_t>(ids.size()));
    CHECK(encoder.outcome(i).loss == vocabulary.loss(odd_texts[i], ids));
  }
}

// Sentences as they are.
class Lines : public sentencepiece::SentenceIterator {
 public:
  explicit Lines(const std::vector<std::string>& lines) : lines_(lines) {}
  bool done() const override { return at_ == lines_.size(); }
  void Next() override { ++at_; }
  const std::string& value() const override { return lines_[at_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<std::string> lines_;
  size_t at_ = 0;
};

// As somebody else may have learned it, of the settings that are given.
Vocabulary others(std::unordered_map<std::string, std::string> settings) {
  settings.insert({{"vocab_size", "60"},
                   {"hard_vocab_limit", "false"},
                   {"pad_id", "0"},
                   {"bos_id", "1"},
                   {"eos_id", "2"},
                   {"unk_id", "3"},
                   {"minloglevel", "3"}});
  std::string model;
  const std::vector<std::string> texts = {"the quick brown fox", "jumps over the lazy dog", "Straße  a  b c",
                                          "a b a b a b a b a b a b a b a b a b a b"};
  Lines lines(texts);
  REQUIRE(sentencepiece::SentencePieceTrainer::Train(settings, &lines, &model).ok());
  return Vocabulary(model, "others");
}

}  // namespace

TEST_CASE("words are encoded apart where that gives the same ids, and only there") {
  const Vocabulary own = Vocabulary::train({"the quick brown fox", "jumps over the lazy dog", "Straße  a\tb c"}, 60);
  CHECK(own.encodes_words_apart());
  check_encoder(own);
  const std::unordered_map<std::string, std::string> plain = {
      {"model_type", "bpe"}, {"normalization_rule_name", "identity"}, {"remove_extra_whitespaces", "false"}};
  CHECK(others(plain).encodes_words_apart());
  check_encoder(others(plain));
  for (const auto& [name, value] : std::map<std::string, std::string>{{"model_type", "unigram"},
                                                                      {"normalization_rule_name", "nmt_nfkc"},
                                                                      {"remove_extra_whitespaces", "true"},
                                                                      {"add_dummy_prefix", "false"},
                                                                      {"treat_whitespace_as_suffix", "true"},
                                                                      {"split_by_whitespace", "false"},
                                                                      {"byte_fallback", "true"},
                                                                      {"user_defined_symbols", "e l"}}) {
    const std::string setting = name;  // CAPTURE takes no structured bindings in C++20
    CAPTURE(setting);
    auto settings = plain;
    settings[name] = value;
    if (name == "byte_fallback") settings["vocab_size"] = "300";
    const Vocabulary vocabulary = others(settings);
    CHECK(!vocabulary.encodes_words_apart());
    check_encoder(vocabulary);
  }
}

TEST_CASE("a vocabulary learned from counted words is the one that SentencePiece learns from sentences") {
  const std::vector<std::string> texts = {"a  b a",  " the dog", "the dog ", "dogs\tand the",
                                          "the end", "  ",       "an  end"};
  std::string model;
  Lines lines(texts);
  REQUIRE(sentencepiece::SentencePieceTrainer::Train({{"model_type", "bpe"},
                                                      {"vocab_size", "40"},
                                                      {"hard_vocab_limit", "false"},
                                                      {"character_coverage", "1"},
                                                      {"normalization_rule_name", "identity"},
                                                      {"remove_extra_whitespaces", "false"},
                                                      {"user_defined_symbols", "\t"},
                                                      {"pad_id", "0"},
                                                      {"bos_id", "1"},
                                                      {"eos_id", "2"},
                                                      {"unk_id", "3"},
                                                      {"max_sentence_length", "32767"},
                                                      {"minloglevel", "3"}},
                                                     &lines, &model)
              .ok());
  CHECK(Vocabulary::train(texts, 40).model() == model);
}
