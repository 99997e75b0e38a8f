// 9. A GPT, of parts that the programs before have made: it writes what program 5 could not.
#include <cstdio>

#include "examples/tour/numbers.h"
#include "nn/attention.h"
#include "nn/embedding.h"
#include "nn/feed_forward.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"

using namespace difftensor;

constexpr int64_t D = 64;  // numbers that make a token

// Tokens talk to each other, then each thinks for itself. Both add to what goes past them, so a block that has learned
// nothing yet does no harm, and gradients reach the first block undiminished.
struct Block : nn::Module {
  explicit Block(Random& random)
      : attention_norm(add_module<nn::RMSNorm>("attention_norm", D)),
        attention(add_module<nn::MultiheadAttention>(
            "attention", nn::AttentionConfig{.width = D, .heads = 4, .rotary = true}, random)),
        network_norm(add_module<nn::RMSNorm>("network_norm", D)),
        network(add_module<nn::FeedForward>("network", D, 2 * D, nn::Activation::swiglu, random)) {}
  Tensor operator()(Tensor x, const nn::Sequences& texts) const {
    const Tensor asking = attention_norm(x);
    x = x + attention(asking, texts, asking, texts, /*causal=*/true);
    return x + network(network_norm(x));
  }
  nn::RMSNorm& attention_norm;
  nn::MultiheadAttention& attention;
  nn::RMSNorm& network_norm;
  nn::FeedForward& network;
};

// Token ids in, for each of them scores of all tokens to come next: (N) -> (N, V).
struct GPT : nn::Module {
  explicit GPT(Random& random)
      : embedding(add_module<nn::Embedding>("embedding", numbers::alphabet.size(), D, random)),
        first(add_module<Block>("first", random)),
        second(add_module<Block>("second", random)),
        norm(add_module<nn::RMSNorm>("norm", D)) {}
  Tensor operator()(const std::vector<int32_t>& ids, const std::vector<int64_t>& lengths) const {
    const nn::Sequences texts = nn::packed_sequences(lengths);
    const Tensor x = embedding(ids);
    return linear(norm(second(first(x, texts), texts)), embedding.weight);
  }
  nn::Embedding& embedding;
  Block &first, &second;
  nn::RMSNorm& norm;
};

std::string write(const GPT& model, Random& random) {
  const NoGrad no_grad;
  std::vector<int32_t> ids{0};
  std::string text;
  while (text.size() < 120) {
    const Tensor scores = model(ids, {static_cast<int64_t>(ids.size())});
    const Tensor last = slice(scores, 0, scores.dim(0) - 1, scores.dim(0));
    ids.push_back(multinomial(softmax(last), 1, random).values[0]);
    if (ids.back() == 0) break;
    text += numbers::alphabet[ids.back()];
  }
  return text;
}

int main() {
  Random random(1);
  const GPT model(random);
  std::printf("%lld parameters\n", static_cast<long long>(model.parameter_count()));
  optim::AdamW optimizer(model.parameters(), 0);
  const optim::Schedule schedule = optim::cosine(0.01, 20, 800);
  for (int update = 1; update <= 800; ++update) {
    const numbers::Texts batch = numbers::draw_texts(16, random);
    const Tensor loss = cross_entropy(model(batch.ids, batch.lengths), batch.next);
    if (update % 200 == 0) std::printf("update %3d  loss %.3f\n", update, loss.item());
    loss.backward();
    optimizer.set_lr(schedule(update));
    optimizer.step();
    optimizer.zero_grad();
  }
  numbers::print_texts([&] { return write(model, random); }, "");
}
