// Finds the one marked digit among up to 30 others, with a layer of differential attention.
#include <cstdio>

#include "nn/diff_attention.h"
#include "nn/embedding.h"
#include "optim/optimizer.h"

using namespace difftensor;

struct Finder : nn::Module {
  explicit Finder(Random& random)
      : embedding(add_module<nn::Embedding>("embedding", 20, 32, random)),
        attention(
            add_module<nn::MultiheadDiffAttention>("attention", nn::AttentionConfig{.width = 32, .heads = 2}, random)),
        output(add_module<nn::Linear>("output", 32, 10, true, random)) {}
  // Sentences lie end to end in `ids`. Each one's last token answers: (sentences, 10), a score for each digit.
  Tensor operator()(const std::vector<int32_t>& ids, const nn::Sequences& sentences) const {
    const Tensor x = embedding(ids);
    const Tensor found = x + attention(x, sentences, x, sentences, /*causal=*/true);
    std::vector<int32_t> last;
    for (const Span& s : sentences.spans) last.push_back(static_cast<int32_t>(s.begin + s.length - 1));
    return output(gather_rows(found, last));
  }

  nn::Embedding& embedding;
  nn::MultiheadDiffAttention& attention;
  nn::Linear& output;
};

int main() {
  Random random(1);
  Finder model(random);
  optim::AdamW optimizer(model.parameters(), 0.01);
  for (int update = 1; update <= 200; ++update) {
    std::vector<int32_t> ids, answers;
    std::vector<int64_t> lengths;
    for (int sentence = 0; sentence < 32; ++sentence) {
      lengths.push_back(8 + static_cast<int64_t>(random.below(24)));
      const size_t begin = ids.size(), marked = begin + random.below(lengths.back());
      for (int64_t i = 0; i < lengths.back(); ++i) ids.push_back(static_cast<int32_t>(random.below(10)));
      answers.push_back(ids[marked]);
      ids[marked] += 10;  // 10 to 19 are the marked digits
    }
    const Tensor loss = cross_entropy(model(ids, nn::packed_sequences(lengths)), answers);
    loss.backward();
    optimizer.step();
    optimizer.zero_grad();
    if (update % 50 == 0) std::printf("update %3d  loss %.4f\n", update, loss.item());
  }
  std::printf("lambda, how much of the second map is subtracted: %.2f\n", model.attention.lambda().item());
}
