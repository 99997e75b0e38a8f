#include "tests/golden_check.h"

#include <cmath>

#include "core/safetensors.h"
#include "models/transformer.h"
#include "optim/clip.h"
#include "optim/optimizer.h"

namespace difftensor::inline DT_PRECISION {
namespace {

constexpr bool is_double = sizeof(Scalar) == 8;

std::vector<int32_t> as_ids(const std::vector<int64_t>& ids) { return {ids.begin(), ids.end()}; }

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

class Comparison {
 public:
  Comparison(const SafeTensors& file, GoldenResult& result) : file_(file), result_(result) {}
  bool has(const std::string& name) const { return file_.tensors.count(name) > 0; }
  // |ours - golden| <= tolerance * max(largest |golden|, floor)
  void check(const std::string& name, const Tensor& ours, double tolerance, double floor = 0) {
    if (!has(name)) return;
    const Tensor& golden = file_.tensors.at(name);
    ++result_.tensors;
    if (ours.numel() != golden.numel()) return worst(INFINITY, name + ": another shape");
    double difference = 0;
    for (int64_t i = 0; i < ours.numel(); ++i) {
      const double d = std::abs(static_cast<double>(ours.data()[i]) - static_cast<double>(golden.data()[i]));
      if (!(d <= difference)) difference = d;  // a NaN too
    }
    const double error = difference / std::max({largest(golden), floor, 1e-300});
    std::ostringstream text;
    text << name << " " << error << " (limit " << tolerance << ")";
    worst(std::isnan(error) ? INFINITY : error / tolerance, text.str());
  }

 private:
  void worst(double ratio, const std::string& where) {
    if (ratio < result_.worst) return;
    result_.worst = ratio;
    result_.where = where;
  }
  const SafeTensors& file_;
  GoldenResult& result_;
};

}  // namespace

GoldenResult check_golden(const std::string& path) {
  const SafeTensors file = load_safetensors(path);
  auto setting = [&](const char* name) {
    require(file.metadata.count(name), "golden", path, ": no setting ", name);
    return file.metadata.at(name);
  };
  auto number = [&](const char* name) { return std::stod(setting(name)); };

  Random random;
  models::TransformerConfig config;
  config.vocab = std::stol(setting("vocab"));
  config.d_model = std::stol(setting("d_model"));
  config.heads = std::stoi(setting("heads"));
  config.ff = std::stol(setting("ff"));
  config.encoder_layers = std::stoi(setting("encoder_layers"));
  config.decoder_layers = std::stoi(setting("decoder_layers"));
  config.attention = models::attention_from_string(setting("attention"));
  config.style = models::style_from_string(setting("style"));
  models::Transformer model(config, random);

  std::map<std::string, Tensor> initial;
  for (auto& [name, tensor] : file.tensors)
    if (name.starts_with("param.")) initial[name.substr(6)] = tensor;
  model.load_state_dict(initial);

  const auto& source_lengths = file.integers.at("in.src_lengths");
  const auto& full_lengths = file.integers.at("in.tgt_lengths");
  const std::vector<int32_t> source = as_ids(file.integers.at("in.src"));
  const std::vector<int32_t> target_in = without_end(file.integers.at("in.tgt"), full_lengths, 1);
  const std::vector<int32_t> target_out = without_end(file.integers.at("in.tgt"), full_lengths, 0);
  std::vector<int64_t> target_lengths;
  for (int64_t length : full_lengths) target_lengths.push_back(length - 1);
  const nn::Sequences from = nn::packed_sequences(source_lengths), to = nn::packed_sequences(target_lengths);

  GoldenResult result;
  Comparison compare(file, result);
  double largest_gradient = 0;
  for (auto& [name, tensor] : file.tensors)
    if (name.starts_with("grad.")) largest_gradient = std::max(largest_gradient, largest(tensor));
  const double of_outputs = is_double ? 1e-9 : 1e-4, of_losses = is_double ? 1e-8 : 1e-3;
  const double gradient_floor = is_double ? 0 : 0.01 * largest_gradient;

  optim::AdamW optimizer({{model.parameters(), number("weight_decay"), 1}}, number("lr"),
                         {number("beta1"), number("beta2"), number("eps")});
  CrossEntropyOptions options;
  options.label_smoothing = static_cast<Scalar>(number("label_smoothing"));
  std::vector<Scalar> losses;
  for (int step = 0; step < static_cast<int>(number("steps")); ++step) {
    Tensor memory = model.encode(source, from);
    Tensor logits = model.logits(model.decode(target_in, to, memory, from));
    Tensor loss = cross_entropy(logits, target_out, options);
    losses.push_back(loss.item());
    optimizer.zero_grad();
    loss.backward();
    if (step == 0) {
      compare.check("out.encoder", memory, of_outputs);
      compare.check("out.logits", logits, of_outputs);
      compare.check("out.loss", loss, is_double ? 1e-9 : 1e-3);
      for (auto& [name, tensor] : model.named_parameters())
        compare.check("grad." + name, tensor.grad(), of_outputs, gradient_floor);
    }
    optim::clip_grad_norm(model.parameters(), number("clip_norm"));
    optimizer.step();
  }
  compare.check("out.losses", tensor(losses, {static_cast<int64_t>(losses.size())}), of_losses);
  if (is_double)
    for (auto& [name, tensor] : model.named_parameters()) compare.check("final." + name, tensor, 1e-8);
  return result;
}

}  // namespace difftensor::inline DT_PRECISION
