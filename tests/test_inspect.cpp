// translate inspect: the maps are those that the model computes with, and the page holds them whatever the text.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "examples/translate/inspect.h"
#include "nn/diff_attention.h"
#include "tests/testing.h"

using namespace difftensor;
using namespace translate;
using models::AttentionKind;

namespace {

const AttentionKind kinds[] = {AttentionKind::softmax, AttentionKind::diff, AttentionKind::diff_v2};

// A model of random weights that writes the characters of `text`.
Translator make_translator(AttentionKind kind, const std::string& text) {
  Settings s;
  s.attention = to_string(kind);
  s.d_model = 16, s.ff = 16, s.layers = 2, s.heads = 2, s.max_length = 100;
  s.resolve();
  Vocabulary vocabulary = Vocabulary::train({text}, 60);
  Random random(1);
  auto model = std::make_unique<models::Transformer>(s.model(vocabulary.size()), random);
  model->eval();
  return {s, std::move(vocabulary), std::move(model)};
}

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

nlohmann::json data_of(const std::string& page) {
  const std::string open = "<script type=\"application/json\" id=\"data\">";
  const size_t begin = page.find(open) + open.size();
  return nlohmann::json::parse(page.substr(begin, page.find("</script>", begin) - begin));
}

void check_rows_sum_to_one(const Tensor& map) {
  for (const Scalar total : sum(map, {1}).values()) CHECK(std::abs(total - 1) < 1e-5);
}

}  // namespace

TEST_CASE("the maps times the values are what an attention layer computes") {
  for (const AttentionKind kind : kinds)
    for (const bool causal : {false, true}) {
      CAPTURE(to_string(kind));
      CAPTURE(causal);
      Random random(3);
      auto layer = models::make_attention(kind, {16, 2, /*rotary=*/true, /*depth=*/1}, random);
      const nn::Sequences xs = nn::packed_sequences({5}), ms = nn::packed_sequences({causal ? 5 : 7});
      const Tensor x = randn({5, 16}, random), memory = causal ? x : randn({7, 16}, random);
      nn::AttentionTrace trace;
      layer->trace = &trace;
      const Tensor expected = (*layer)(x, xs, memory, ms, causal);

      const std::vector<HeadMaps> heads = head_maps(trace);
      REQUIRE(heads.size() == 2);
      const Tensor values = layer->keys_values(memory, ms).v;  // (S, h w)
      std::vector<Tensor> mixed;
      for (int i = 0; i < 2; ++i) mixed.push_back(matmul(heads[i].difference, slice(values, 1, 8 * i, 8 * i + 8)));
      Tensor out = concat(mixed, 1);
      if (auto* diff = dynamic_cast<nn::MultiheadDiffAttention*>(layer.get()))
        out = (*diff->subln)(out) * (1 - diff->lambda_init);
      CHECK(largest_difference(layer->out_proj(out), expected) < 1e-5);
    }
}

TEST_CASE("attention_maps has every layer and head, and leaves no trace") {
  const std::vector<int32_t> source{5, 6, 7, 2}, target_in{1, 8, 9};
  for (const AttentionKind kind : kinds) {
    CAPTURE(to_string(kind));
    const Translator translator = make_translator(kind, "abcdefgh");
    const models::Transformer& model = *translator.model;
    const AttentionMaps maps = attention_maps(model, source, target_in);
    for (const auto* stack : {&maps.encoder, &maps.decoder, &maps.cross}) {
      const int64_t T = stack == &maps.encoder ? 4 : 3, S = stack == &maps.decoder ? 3 : 4;
      REQUIRE(stack->size() == 2);
      for (const auto& heads : *stack) {
        REQUIRE(heads.size() == 2);
        for (const HeadMaps& m : heads) {
          CHECK(m.a1.shape() == Shape{T, S});
          check_rows_sum_to_one(m.a1);
          CHECK(m.a2.defined() == (kind != AttentionKind::softmax));
          if (m.a2.defined()) {
            check_rows_sum_to_one(m.a2);
            CHECK(m.lambda.numel() == (kind == AttentionKind::diff ? 1 : T));
          }
          if (stack == &maps.decoder) CHECK(m.difference.data()[1] == 0);  // the first token sees no second
        }
      }
    }
    CHECK(largest_difference(maps.logits, model(source, {4}, target_in, {3})) == 0);
    for (auto* layer : model.decoder().layers())
      CHECK((layer->self_attn.trace == nullptr && layer->cross_attn->trace == nullptr));
    for (auto* layer : model.encoder().layers()) CHECK(layer->self_attn.trace == nullptr);
  }
}

TEST_CASE("head_maps takes a batch of one sentence") {
  Random random(3);
  auto layer = models::make_attention(AttentionKind::diff, {16, 2}, random);
  nn::AttentionTrace trace;
  layer->trace = &trace;
  const nn::Sequences two = nn::packed_sequences({2, 3});
  const Tensor x = randn({5, 16}, random);
  (*layer)(x, two, x, two, false);
  CHECK_THROWS_WITH(head_maps(trace), "head_maps: a batch of 2 sentences, not one");
}

TEST_CASE("the page holds the maps, and text that looks like HTML stays text") {
  const std::string sentence = "</script><!-- <script> \"a\" 'b' \\n & 🙂", target = "<b>x</b>";
  for (const AttentionKind kind : kinds) {
    CAPTURE(to_string(kind));
    const Translator translator = make_translator(kind, sentence + target);
    const std::string page = inspection_page(translator, sentence, target, 1);
    CHECK(count(page, "</script") == 2);
    CHECK(count(page, "<script") == 2);
    CHECK(count(page, "<b>x") == 0);
    CHECK(count(page, "://") == 1);  // the name of SVG: nothing to fetch

    const nlohmann::json data = data_of(page);
    CHECK(data["sentence"] == sentence);
    CHECK(data["translation"] == target);
    std::string joined;
    for (const std::string piece : data["target"]) joined += piece;
    CHECK(joined == "▁" + target + "</s>");

    std::vector<int32_t> source = translator.vocabulary.encode(sentence), in = translator.vocabulary.encode(target);
    source.push_back(Vocabulary::eos);
    in.insert(in.begin(), Vocabulary::bos);
    const AttentionMaps maps = attention_maps(*translator.model, source, in);
    for (size_t layer = 0; layer < 2; ++layer)
      for (size_t head = 0; head < 2; ++head) {
        const nlohmann::json& written = data["cross"][layer][head];
        const HeadMaps& m = maps.cross[layer][head];
        REQUIRE(written["a1"].size() == in.size() * source.size());
        for (size_t i = 0; i < in.size() * source.size(); ++i) {
          CHECK(std::abs(written["a1"][i].get<double>() / 1e4 - m.a1.data()[i]) <= 0.5001e-4);
          if (m.a2.defined()) CHECK(std::abs(written["a2"][i].get<double>() / 1e4 - m.a2.data()[i]) <= 0.5001e-4);
        }
        if (m.lambda.defined()) CHECK(written["lambda"].size() == static_cast<size_t>(m.lambda.numel()));
      }
    CHECK(data["probability"].size() == in.size());
  }
}

TEST_CASE("without a target the page shows the model's own translation") {
  const Translator translator = make_translator(AttentionKind::diff, "a b c d");
  for (const int beam : {1, 3}) {
    const nlohmann::json data = data_of(inspection_page(translator, "a b c", std::nullopt, beam));
    CHECK(data["translation"] == translator.translate({"a b c"}, {.beam = beam}, "test")[0]);
    CHECK(data["target"].back() == "</s>");
  }
}

TEST_CASE("bad text for a page names the option") {
  const Translator translator = make_translator(AttentionKind::diff, "a b c d");
  const auto page = [&](const std::string& sentence, const std::optional<std::string>& target = std::nullopt) {
    inspection_page(translator, sentence, target, 1);
  };
  std::string too_long;
  for (int i = 0; i < 150; ++i) too_long += "a b";
  CHECK_THROWS_WITH_AS(page(""), "--sentence: the text is empty", InputError);
  CHECK_THROWS_WITH_AS(page(" \t\n"), "--sentence: the text is empty", InputError);
  CHECK_THROWS_WITH_AS(page("a\nb"), "--sentence: expected one line, found 2", InputError);
  CHECK_THROWS_WITH_AS(page("a \xff"), "--sentence:1: byte 3 is not valid UTF-8", InputError);
  CHECK_THROWS_WITH_AS(page(too_long), doctest::Contains("; this model takes 100"), InputError);
  CHECK_THROWS_WITH_AS(page("a", ""), "--target: the text is empty", InputError);
  CHECK_THROWS_WITH_AS(page("a", too_long), doctest::Contains("--target: a sentence of "), InputError);
}
