// examples/translate: toy corpora, BLEU and chrF, batches, settings.
#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "examples/text/unicode.h"
#include "examples/text/vocabulary.h"
#include "examples/translate/bleu.h"
#include "examples/translate/chrf.h"
#include "examples/translate/data.h"
#include "tests/example_files.h"

using namespace translate;
using difftensor::Random;

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
    const auto sources = [](const Pairs& pairs) {
      std::vector<std::string> all;
      for (size_t i = 0; i < pairs.size(); ++i) all.push_back(pairs[i].source);
      return all;
    };
    for (const std::string& source : sources(splits.train)) train.insert(source);
    for (const auto* part : {&splits.valid, &splits.test})
      for (const std::string& source : sources(*part)) {
        CHECK(!train.contains(source));
        CHECK(held_out.insert(source).second);
      }
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
  for (size_t i = 0; i < numbers.train.size(); ++i)
    if (const auto found = small.find(numbers.train[i].source); found != small.end()) ++found->second, ++count;
  CHECK(count == 20'000 / 6 * 2 + 2);
  for (const auto& number : small) CHECK_MESSAGE(number.second > 0, number.first);

  size_t shortest = 99, longest = 0;
  for (size_t i = 0; i < letters.train.size(); ++i) {
    const Pair pair = letters.train[i];
    CHECK(pair.target == std::string(pair.source.rbegin(), pair.source.rend()));
    shortest = std::min(shortest, (pair.source.size() + 1) / 2);
    longest = std::max(longest, (pair.source.size() + 1) / 2);
  }
  CHECK(shortest == 3);
  CHECK(longest == 12);
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

// --- Batches ------------------------------------------------------------------------------------------------------

namespace {

Examples some_examples(size_t count) {
  Random random(5);
  Examples examples;
  for (; count > 0; --count) {
    std::vector<int32_t> source, target;
    for (uint64_t n = 1 + random.below(30); n > 0; --n) source.push_back(4 + static_cast<int32_t>(random.below(90)));
    target = source;
    target.resize(1 + random.below(30), 99);
    source.push_back(Vocabulary::eos);
    target.insert(target.begin(), Vocabulary::bos);
    target.push_back(Vocabulary::eos);
    examples.add(source, target);
  }
  return examples;
}

std::vector<Batch> batches_of(const Examples& examples, const std::vector<Selection>& selections) {
  std::vector<Batch> batches;
  for (const Selection& selection : selections) batches.push_back(make_batch(examples, selection));
  return batches;
}

}  // namespace

TEST_CASE("batches hold every example once, within the budget") {
  const auto examples = some_examples(1000);
  Random random(1);
  const std::vector<Batch> sorted = batches_of(examples, sorted_batches(examples, 200));
  const std::vector<Batch> shuffled =
      batches_of(examples, shuffled_batches(examples, static_cast<int64_t>(sorted.size()), random));
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
  Examples uneven;
  uneven.add(std::vector{5, 6, 7, 8, 9, 2}, std::vector{1, 5, 2});
  for (const int32_t id : {5, 6}) uneven.add(std::vector{id, 2}, std::vector{1, 2});
  for (const auto& batches : {sorted_batches(uneven, 3), shuffled_batches(uneven, 3, random)}) {
    CHECK(batches.size() == 3);
    for (const Selection& batch : batches) CHECK(batch.size() == 1);
  }
  CHECK(sorted_batches({}, 100).empty());
  CHECK(shuffled_batches({}, 0, random).empty());
}

TEST_CASE("shuffled batches follow the seed, and mix sentences of up to twice the length") {
  const auto examples = some_examples(1000);
  Random first(3), again(3), other(4);
  const auto count = static_cast<int64_t>(sorted_batches(examples, 300).size());
  const auto order = shuffled_batches(examples, count, first);
  CHECK(order == shuffled_batches(examples, count, again));
  CHECK(order != shuffled_batches(examples, count, other));
  CHECK(order != shuffled_batches(examples, count, first));  // the next epoch

  Selection sorted;
  for (const Selection& batch : sorted_batches(examples, 300)) sorted.insert(sorted.end(), batch.begin(), batch.end());
  const auto key = [&](size_t i) { return std::tuple(examples[i].source.size(), examples[i].target.size(), i); };
  CHECK(std::is_sorted(sorted.begin(), sorted.end(), [&](size_t a, size_t b) { return key(a) < key(b); }));

  int mixed = 0;
  const auto batches = batches_of(examples, order);
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
  Examples examples;
  Random random(4);
  for (int i = 0; i < 400; ++i) {
    const std::vector<int32_t> source(1 + random.below(20), 5 + i), target(2 + random.below(20), 5 + i);
    examples.add(source, target);
  }
  for (const int64_t batch_tokens : {50, 1000, 4096})
    for (const Batch& batch : batches_of(examples, sorted_batches(examples, batch_tokens))) {
      const std::vector<Batch> pieces = micro_batches(batch, 100);
      CHECK((std::has_single_bit(pieces.size()) || pieces.size() % update_parts == 0));
      const auto work = [](const Batch& b) { return static_cast<int64_t>(b.source.size() + 2 * b.target_in.size()); };
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
        CHECK(std::abs(work(piece) - work(batch) / static_cast<int64_t>(pieces.size())) <= 20 + 2 * 21);
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

TEST_CASE("a sentence that is too long is named by its file, line and side") {
  const TemporaryDirectory directory;
  Pairs pairs;
  pairs.add("a b", "b a", 7);
  pairs.add("a b", "b a b a b a b a", 9);
  const Vocabulary vocabulary = Vocabulary::train({"a b", "b a"}, 10);
  const auto message = [&](const Pairs& some, int64_t limit) {
    return input_error(directory, [&] {
      LostText lost;
      encode(some, vocabulary, limit, {"x.en", "x.de"}, lost);
    });
  };
  const size_t longest = vocabulary.encode(pairs[1].target).size() + 1;
  CHECK(message(pairs, 2).starts_with("x.en:7: the source has "));
  CHECK(message(pairs, static_cast<int64_t>(longest) - 1) == "x.de:9: the target has " + std::to_string(longest) +
                                                                 " tokens, more than --max-length " +
                                                                 std::to_string(longest - 1));
  CHECK(message(pairs, static_cast<int64_t>(longest)) == "no error");
}

// --- Settings ---

TEST_CASE("settings default to what they are for") {
  Settings task, files, updates;
  files.train = "pairs.tsv";
  updates.loop_settings.max_updates = 7;
  for (Settings* s : {&task, &files, &updates}) s->resolve();
  CHECK(task.task == "numbers");
  CHECK(task.preset == "toy");
  CHECK(task.loop().max_epochs == 2);
  CHECK(files.task == "");
  CHECK(files.preset == "tiny");
  CHECK(files.dropout == 0.1);
  CHECK(files.d_model == 128);
  CHECK(files.heads == 2);
  CHECK(updates.loop().max_epochs == 0);

  // Resolved settings stay what they are, also on their way through a file.
  const nlohmann::json once = files.json();
  const TemporaryDirectory directory;
  Settings read;
  read.read(directory.write("config.json", once.dump()));
  read.resolve();
  CHECK(read.json() == once);

  read.change({{"preset", "small"}, {"layers", 5}}, "flags");
  read.resolve();
  CHECK(read.d_model == 256);
  CHECK(read.layers == 5);
  read.change({{"attention", "softmax"}}, "flags");
  read.resolve();
  CHECK(read.d_model == 256);
  CHECK(read.heads == 8);
}
