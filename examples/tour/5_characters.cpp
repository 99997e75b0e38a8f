// 5. Characters: two models that write. One knows the last character, the other the last eight.
#include <cstdio>

#include "examples/tour/numbers.h"
#include "nn/embedding.h"
#include "nn/linear.h"
#include "optim/optimizer.h"

using namespace difftensor;

const auto V = static_cast<int64_t>(numbers::alphabet.size());
constexpr int window = 8;
using Tokens = std::vector<int32_t>;

// Bigram: a table with a row of scores for each character, of what comes after it. One that is learned.
struct Bigram : nn::Module {
  explicit Bigram(Random&) : table(add_parameter("table", zeros({V, V}))) {}
  Tensor operator()(const Tokens& contexts) const {  // (N) windows of 8 -> (N, V)
    Tokens last;
    for (size_t i = window - 1; i < contexts.size(); i += window) last.push_back(contexts[i]);
    return embedding(table, last);
  }
  const Tensor table;
};

// A network (Bengio et al. 2003): each of the last eight characters becomes 12 numbers, which are learned, too. Side by
// side they go through two layers.
struct Network : nn::Module {
  explicit Network(Random& random)
      : characters(add_module<nn::Embedding>("characters", V, 12, random)),
        hidden(add_module<nn::Linear>("hidden", 12 * window, 128, true, random)),
        output(add_module<nn::Linear>("output", 128, V, true, random)) {}
  Tensor operator()(const Tokens& contexts) const {
    return output(tanh(hidden(reshape(characters(contexts), {-1, 12 * window}))));
  }
  nn::Embedding& characters;
  nn::Linear &hidden, &output;
};

// Every place in 16 names: the eight characters before it, and the one that stands there. 0 fills up the beginning.
std::pair<Tokens, Tokens> draw_examples(Random& random) {
  Tokens contexts, next;
  for (int i = 0; i < 16; ++i) {
    Tokens context(window, 0);
    for (int32_t token : numbers::tokens(numbers::draw_name(random))) {
      contexts.insert(contexts.end(), context.begin(), context.end());
      next.push_back(token);
      context.erase(context.begin());
      context.push_back(token);
    }
  }
  return {contexts, next};
}

// Writing: draw the next character as the model's probabilities say, append it, go on until it draws an end.
template <class Model>
std::string write(const Model& model, Random& random) {
  const NoGrad no_grad;
  std::string text;
  Tokens context(window, 0);
  while (text.size() < 120) {
    const int32_t token = multinomial(softmax(model(context)), 1, random).values[0];
    if (token == 0) break;
    text += numbers::alphabet[token];
    context.erase(context.begin());
    context.push_back(token);
  }
  return text;
}

template <class Model>
void learn(const char* name, int updates, double lr) {
  Random random(1);
  const Model model(random);
  std::printf("%s, %lld parameters\n", name, static_cast<long long>(model.parameter_count()));
  optim::AdamW optimizer(model.parameters(), lr);
  for (int update = 0; update <= updates; ++update) {
    const auto [contexts, next] = draw_examples(random);
    const Tensor loss = cross_entropy(model(contexts), next);  // the mean of -log p(what came)
    if (update % 100 == 0) std::printf("  update %3d  loss %.2f\n", update, loss.item());
    loss.backward();
    optimizer.step();
    optimizer.zero_grad();
  }
  numbers::print_texts([&] { return write(model, random); }, "  ");
}

int main() {
  learn<Bigram>("bigram", 300, 0.1);
  learn<Network>("network", 500, 0.005);
}
