#include "examples/translate/inspect.h"

#include <cmath>
#include <deque>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string_view>

namespace translate {

using namespace difftensor;

namespace {

// inspect.html; the Makefile makes a string literal of it.
constexpr std::string_view page =
#include "inspect.html.inc"
    ;

}  // namespace

AttentionMaps attention_maps(const models::Transformer& model, const std::vector<int32_t>& source,
                             const std::vector<int32_t>& target_in) {
  NoGrad no_grad;
  std::deque<AttentionListener> encoder, decoder, cross;
  for (auto* layer : model.encoder().layers()) encoder.emplace_back(layer->self_attn);
  for (auto* layer : model.decoder().layers()) {
    decoder.emplace_back(layer->self_attn);
    cross.emplace_back(*layer->cross_attn);
  }
  const Tensor logits =
      model(source, {static_cast<int64_t>(source.size())}, target_in, {static_cast<int64_t>(target_in.size())});
  return {head_maps(encoder), head_maps(decoder), head_maps(cross), logits};
}

AttentionFigure most_decided_cross_attention(const Translator& translator, const std::vector<int32_t>& source,
                                             const std::vector<int32_t>& target) {
  const AttentionMaps maps = attention_maps(*translator.model, source, {target.begin(), target.end() - 1});
  AttentionFigure figure = most_decided_head(maps.cross, "cross-attention, decoder layer ");
  for (size_t i = 1; i < target.size(); ++i) figure.queries.push_back(translator.vocabulary.piece(target[i]));
  for (const int32_t id : source) figure.keys.push_back(translator.vocabulary.piece(id));
  return figure;
}

// --- The page -----------------------------------------------------------------------------------------------------

namespace {

using nlohmann::json;

// The one line of text given with an option, as ids with EOS.
std::vector<int32_t> encode_line(const Translator& translator, const std::string& text, const std::string& option) {
  std::istringstream in(text);
  const std::vector<std::string> lines = read_lines(in, option);
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) throw InputError(option + ": the text is empty");
  if (lines.size() != 1) throw InputError(option + ": expected one line, found " + std::to_string(lines.size()));
  translator.warn_of_unknown(lines, option);
  std::vector<int32_t> ids = translator.vocabulary.encode(lines[0]);
  ids.push_back(Vocabulary::eos);
  if (static_cast<int64_t>(ids.size()) > translator.settings.max_length)
    throw InputError(option + ": a sentence of " + std::to_string(ids.size()) + " tokens; this model takes " +
                     std::to_string(translator.settings.max_length));
  return ids;
}

// Ten-thousandths: as exact as a page needs, and most entries take one digit.
json rounded(const Tensor& x) {
  json numbers = json::array();
  for (const Scalar value : x.values()) numbers.push_back(std::lround(10000 * value));
  return numbers;
}

json to_json(const AttentionMaps::Stack& stack) {
  json layers = json::array();
  for (const auto& heads : stack) {
    json layer = json::array();
    for (const HeadMaps& m : heads) {
      json head{{"a1", rounded(m.a1)}};
      if (m.a2.defined()) head["a2"] = rounded(m.a2), head["lambda"] = rounded(m.lambda);
      layer.push_back(head);
    }
    layers.push_back(layer);
  }
  return layers;
}

json pieces(const Vocabulary& vocabulary, const std::vector<int32_t>& ids) {
  json names = json::array();
  for (const int32_t id : ids) names.push_back(vocabulary.piece(id));
  return names;
}

}  // namespace

std::string inspection_page(const Translator& translator, const std::string& sentence,
                            const std::optional<std::string>& target, int beam) {
  const models::Transformer& model = *translator.model;
  const std::vector<int32_t> source = encode_line(translator, sentence, "--sentence");
  std::vector<int32_t> target_out;  // ... EOS
  if (target) {
    target_out = encode_line(translator, *target, "--target");
  } else {
    models::DecodeOptions options;
    options.beam = beam;
    options.bos = Vocabulary::bos, options.eos = Vocabulary::eos;
    options.max_length_factor = translator.settings.max_length_factor;
    target_out = models::decode(model, {source}, options)[0].at(0).tokens;
    target_out.push_back(Vocabulary::eos);
  }
  std::vector<int32_t> target_in{Vocabulary::bos};
  target_in.insert(target_in.end(), target_out.begin(), target_out.end() - 1);

  const AttentionMaps maps = attention_maps(model, source, target_in);
  const Tensor p = softmax(maps.logits);
  json probabilities = json::array();
  for (size_t i = 0; i < target_out.size(); ++i)
    probabilities.push_back(std::lround(10000 * p.data()[static_cast<int64_t>(i) * p.dim(1) + target_out[i]]));

  const json data{{"attention", translator.settings.attention},
                  {"sentence", sentence},
                  {"translation", translator.vocabulary.decode(target_out)},
                  {"given", target.has_value()},
                  {"beam", beam},
                  {"source", pieces(translator.vocabulary, source)},
                  {"target", pieces(translator.vocabulary, target_out)},
                  {"probability", probabilities},
                  {"cross", to_json(maps.cross)},
                  {"decoder", to_json(maps.decoder)},
                  {"encoder", to_json(maps.encoder)}};
  // A vocabulary from elsewhere may have pieces of bytes that are not UTF-8. Inside <script> only "<" can mean anything
  // to HTML, and in JSON it occurs only in strings.
  const std::string dumped = data.dump(-1, ' ', false, json::error_handler_t::replace);
  std::string text;
  for (const char c : dumped) c == '<' ? text += "\\u003c" : text += c;
  const std::string place = "@DATA@";
  return std::string(page).replace(page.find(place), place.size(), text);
}

}  // namespace translate
