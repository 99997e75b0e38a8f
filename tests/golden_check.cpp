#include "tests/golden_check.h"

#include <charconv>
#include <cmath>
#include <functional>
#include <set>
#include <system_error>
#include <type_traits>

#include "core/safetensors.h"
#include "models/language_model.h"
#include "models/transformer.h"
#include "optim/clip.h"
#include "optim/optimizer.h"

namespace difftensor::inline DT_PRECISION {
namespace {

constexpr bool is_double = sizeof(Scalar) == 8;

// The parts of packed `ids` without each sentence's first (drop = 0) or last (drop = 1) token.
std::vector<int32_t> without_end(const std::vector<int64_t>& ids, const std::vector<int64_t>& lengths, int drop) {
  std::vector<int32_t> out;
  int64_t at = 0;
  for (int64_t length : lengths) {
    for (int64_t i = 0; i + 1 < length; ++i) out.push_back(static_cast<int32_t>(ids[at + i + (drop == 0)]));
    at += length;
  }
  return out;
}

double largest(const Tensor& t) {
  double top = 0;
  for (int64_t i = 0; i < t.numel(); ++i) top = std::max(top, std::abs(static_cast<double>(t.data()[i])));
  return top;
}

// What a golden file says of the model and its input; every part is checked before it is used.
class Description {
 public:
  Description(const std::string& path, const SafeTensors& file) : path_(path), file_(file) {}

  bool has(const std::string& name) const { return file_.metadata.contains(name); }
  std::string text(const char* name) const {
    require(file_.metadata.contains(name), "golden", path_, ": no setting ", name);
    return file_.metadata.at(name);
  }
  // A whole number if T is one, otherwise a finite one.
  template <class T>
  T number(const char* name) const {
    const std::string digits = text(name);
    T value{};
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    require(error == std::errc() && end == digits.data() + digits.size() && std::isfinite(static_cast<double>(value)),
            "golden", path_, ": setting ", name, " is \"", digits, "\", not a ",
            std::is_integral_v<T> ? "whole number" : "number");
    return value;
  }
  // As Python writes it.
  bool truth(const char* name) const {
    const std::string word = text(name);
    require(word == "True" || word == "False", "golden", path_, ": setting ", name, " is \"", word,
            "\", not True or False");
    return word == "True";
  }
  const std::vector<int64_t>& integers(const char* name) const {
    require(file_.integers.contains(name), "golden", path_, ": no integers ", name);
    return file_.integers.at(name).values;
  }
  // Lengths of at least `shortest` that make up `ids`, which are words of the vocabulary.
  const std::vector<int64_t>& lengths(const char* name, const char* ids, int64_t shortest, int64_t vocab) const {
    const auto &lengths = integers(name), &words = integers(ids);
    int64_t rest = static_cast<int64_t>(words.size());
    for (int64_t length : lengths) {
      require(shortest <= length && length <= rest, "golden", path_, ": ", name, " has a length of ", length, " where ",
              rest, " ids are left; at least ", shortest, " is needed");
      rest -= length;
    }
    require(rest == 0, "golden", path_, ": ", rest, " ids of ", ids, " belong to no sentence");
    for (int64_t id : words)
      require(0 <= id && id < vocab, "golden", path_, ": ", ids, " has the id ", id, " in a vocabulary of ", vocab);
    return lengths;
  }

 private:
  const std::string& path_;
  const SafeTensors& file_;
};

class Comparison {
 public:
  Comparison(const SafeTensors& file, GoldenResult& result) : file_(file), result_(result) {}
  // |ours - golden| <= tolerance * max(largest |golden|, floor), if the file has the tensor.
  void check(const std::string& name, const Tensor& ours, double tolerance, double floor = 0) {
    if (!file_.tensors.contains(name)) return;
    const Tensor& golden = file_.tensors.at(name);
    ++result_.tensors;
    compared_.insert(name);
    if (!ours.defined()) return worst(INFINITY, name + ": there is none here");
    if (!(ours.shape() == golden.shape())) return worst(INFINITY, name + ": another shape");
    double difference = 0;
    for (int64_t i = 0; i < ours.numel(); ++i) {
      const double d = std::abs(static_cast<double>(ours.data()[i]) - static_cast<double>(golden.data()[i]));
      difference = std::isnan(d) ? INFINITY : std::max(difference, d);
    }
    const double error = difference / std::max({largest(golden), floor, 1e-300});
    std::ostringstream text;
    text << name << " " << error << " (limit " << tolerance << ")";
    worst(std::isnan(error) ? INFINITY : error / tolerance, text.str());
  }
  // Fails for what the file has under `prefix` and no check() asked for: this model should have it.
  void nothing_left(const std::string& prefix) {
    const auto look = [&](const auto& entries) {
      for (auto& [name, values] : entries)
        if (name.starts_with(prefix) && !compared_.contains(name))
          worst(INFINITY, name + ": nothing here has that name");
    };
    look(file_.tensors);
    look(file_.integers);
  }

 private:
  void worst(double ratio, const std::string& where) {
    if (ratio < result_.worst) return;
    result_.worst = ratio;
    result_.where = where;
  }
  const SafeTensors& file_;
  GoldenResult& result_;
  std::set<std::string> compared_;
};

// A model, and what it is to compute.
struct Case {
  std::unique_ptr<nn::Module> model;
  std::vector<int32_t> targets;  // what each row of logits is to predict
  // "out.logits", and what else there is on the way to them.
  std::function<std::map<std::string, Tensor>()> forward;
};

void read_layers(const Description& says, models::LayerConfig& config) {
  config.d_model = says.number<int64_t>("d_model");
  config.heads = says.number<int>("heads");
  config.ff = says.number<int64_t>("ff");
  config.attention = models::attention_from_string(says.text("attention"));
  config.style = models::style_from_string(says.text("style"));
  if (says.has("head_norm")) config.head_norm = says.truth("head_norm");
  if (says.has("lambda_init")) config.lambda_init = static_cast<Scalar>(says.number<double>("lambda_init"));
}

std::vector<int64_t> one_less(std::vector<int64_t> lengths) {
  for (int64_t& length : lengths) --length;
  return lengths;
}

Case transformer_case(const std::string& path, const Description& says) {
  models::TransformerConfig config;
  read_layers(says, config);
  config.vocab = says.number<int64_t>("vocab");
  config.encoder_layers = says.number<int>("encoder_layers");
  config.decoder_layers = says.number<int>("decoder_layers");
  Random random;
  auto model = std::make_unique<models::Transformer>(config, random);

  const auto& source_lengths = says.lengths("in.src_lengths", "in.src", 1, config.vocab);
  const auto& full_lengths = says.lengths("in.tgt_lengths", "in.tgt", 2, config.vocab);  // BOS and EOS
  require(!source_lengths.empty() && source_lengths.size() == full_lengths.size(), "golden", path, ": ",
          source_lengths.size(), " sources and ", full_lengths.size(), " targets");
  const auto& ids = says.integers("in.src");
  const std::vector<int32_t> source(ids.begin(), ids.end());
  const std::vector<int32_t> target_in = without_end(says.integers("in.tgt"), full_lengths, 1);
  const nn::Sequences from = nn::packed_sequences(source_lengths), to = nn::packed_sequences(one_less(full_lengths));
  const auto forward = [model = model.get(), source, target_in, from, to] {
    const Tensor memory = model->encode(source, from);
    return std::map<std::string, Tensor>{{"out.encoder", memory},
                                         {"out.logits", model->logits(model->decode(target_in, to, memory, from))}};
  };
  return {std::move(model), without_end(says.integers("in.tgt"), full_lengths, 0), forward};
}

Case language_model_case(const Description& says) {
  models::LanguageModelConfig config;
  read_layers(says, config);
  config.vocab = says.number<int64_t>("vocab");
  config.layers = says.number<int>("layers");
  config.tied_output = says.truth("tied");
  Random random;
  auto model = std::make_unique<models::LanguageModel>(config, random);

  const auto& full_lengths = says.lengths("in.lengths", "in.ids", 2, config.vocab);
  const std::vector<int32_t> ids = without_end(says.integers("in.ids"), full_lengths, 1);
  const auto forward = [model = model.get(), ids, lengths = one_less(full_lengths)] {
    return std::map<std::string, Tensor>{{"out.logits", (*model)(ids, lengths)}};
  };
  return {std::move(model), without_end(says.integers("in.ids"), full_lengths, 0), forward};
}

}  // namespace

GoldenResult check_golden(const std::string& path) {
  const SafeTensors file = load_safetensors(path);
  const Description says(path, file);
  const Case one = file.integers.contains("in.ids") ? language_model_case(says) : transformer_case(path, says);
  nn::Module& model = *one.model;
  std::map<std::string, Tensor> initial;
  for (auto& [name, tensor] : file.tensors)
    if (name.starts_with("param.")) initial[name.substr(6)] = tensor;
  model.load_state_dict(initial);

  GoldenResult result;
  Comparison compare(file, result);
  double largest_gradient = 0;
  for (auto& [name, tensor] : file.tensors)
    if (name.starts_with("grad.")) largest_gradient = std::max(largest_gradient, largest(tensor));
  const double of_outputs = is_double ? 1e-9 : 1e-4, of_losses = is_double ? 1e-8 : 1e-3;
  const double gradient_floor = is_double ? 0 : 0.01 * largest_gradient;

  optim::AdamW optimizer({{model.parameters(), says.number<double>("weight_decay"), 1}}, says.number<double>("lr"),
                         {says.number<double>("beta1"), says.number<double>("beta2"), says.number<double>("eps")});
  CrossEntropyOptions options;
  options.label_smoothing = static_cast<Scalar>(says.number<double>("label_smoothing"));
  const auto clip_norm = says.number<double>("clip_norm");
  const int steps = says.number<int>("steps");
  require(steps >= 1, "golden", path, ": setting steps is ", steps, ", less than 1");
  std::vector<Scalar> losses;
  for (int step = 0; step < steps; ++step) {
    const std::map<std::string, Tensor> outputs = one.forward();
    const Tensor loss = cross_entropy(outputs.at("out.logits"), one.targets, options);
    losses.push_back(loss.item());
    optimizer.zero_grad();
    loss.backward();
    if (step == 0) {
      for (auto& [name, tensor] : outputs) compare.check(name, tensor, of_outputs);
      compare.check("out.loss", loss, of_outputs);
      for (auto& [name, tensor] : model.named_parameters())
        compare.check("grad." + name, tensor.grad(), of_outputs, gradient_floor);
    }
    optim::clip_grad_norm(model.parameters(), clip_norm);
    optimizer.step();
  }
  compare.check("out.losses", tensor(losses, {static_cast<int64_t>(losses.size())}), of_losses);
  compare.nothing_left("out.");
  compare.nothing_left("grad.");
  if (is_double) {
    for (auto& [name, tensor] : model.named_parameters()) compare.check("final." + name, tensor, 1e-8);
    compare.nothing_left("final.");
  }
  return result;
}

}  // namespace difftensor::inline DT_PRECISION
