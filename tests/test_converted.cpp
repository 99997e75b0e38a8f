// Differential attention layers of Hugging Face and of Microsoft: what they compute by their own rules, written down in
// tests/golden/attention.py, nn::MultiheadDiffAttention computes with the weights that tests/golden/convert.py makes.
#include "core/safetensors.h"
#include "nn/diff_attention.h"
#include "tests/testing.h"

using namespace difftensor;

namespace {
// The largest error of the layer with these weights, relative to the file's largest output.
double error_with(const SafeTensors& file, const std::map<std::string, Tensor>& weights) {
  const auto setting = [&](const char* name) { return std::stoi(file.metadata.at(name)); };
  Random random;
  nn::MultiheadDiffAttention layer(
      {.width = setting("width"), .heads = setting("heads"), .rotary = true, .depth = setting("depth")}, random);
  layer.load_state_dict(weights);
  const nn::Sequences sentences = nn::packed_sequences(file.integers.at("lengths").values);
  const Tensor &x = file.tensors.at("x"), &theirs = file.tensors.at("out");
  const Tensor ours = layer(x, sentences, x, sentences, /*causal=*/true).detach();
  return largest_difference(ours, theirs) / largest_difference(theirs, zeros(theirs.shape()));
}

// Rows `from` ... of a copy exchanged with rows `to` ...: as if heads came in another order.
Tensor with_swapped_rows(const Tensor& weight, int64_t from, int64_t to, int64_t count) {
  Tensor swapped = weight.clone();
  const int64_t width = weight.dim(1);
  std::swap_ranges(swapped.data() + from * width, swapped.data() + (from + count) * width, swapped.data() + to * width);
  return swapped;
}
}  // namespace

TEST_CASE("attention layers of Hugging Face's DiffLlama and of Microsoft, converted, compute what they did") {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator("tests/golden/attention")) {
    const std::string path = entry.path().string();
    CAPTURE(path);
    ++files;
    const SafeTensors file = load_safetensors(path);
    std::map<std::string, Tensor> weights;
    for (const auto& named : file.tensors)
      if (named.first.starts_with("param.")) weights[named.first.substr(6)] = named.second;
    CHECK(error_with(file, weights) < rounding);

    // Nothing of the order is left open: two heads, two features of a rotary pair or two values exchanged are noticed.
    const auto error_if = [&](const char* name, int64_t from, int64_t to, int64_t count) {
      auto wrong = weights;
      wrong[name] = with_swapped_rows(weights.at(name), from, to, count);
      return error_with(file, wrong);
    };
    CHECK(error_if("q_proj.weight", 0, 4, 4) > 0.01);
    CHECK(error_if("q_proj.weight", 1, 2, 1) > 0.01);
    CHECK(error_if("v_proj.weight", 0, 4, 4) > 0.01);
  }
  CHECK(files == 5);
}
