// 10. The same model faster: matrix products, texts packed, attention fused, cores in parallel. Each step is measured
// on the same batch, and must compute the same loss.
#include <omp.h>

#include <chrono>
#include <cstdio>

#include "core/parallel_backward.h"
#include "examples/tour/numbers.h"
#include "nn/attention.h"

using namespace difftensor;

// Program 9's model once more, all of it in one function, with a choice of ways to compute it.
struct GPT : nn::Module {
  static constexpr int64_t D = 64, inner = 128, heads = 4, blocks = 2;
  explicit GPT(Random& random) : E(add_parameter("E", randn({V, D}, random, 0.125))) {
    for (int64_t i = 0; i < blocks; ++i) {
      const auto add = [&](const char* name, int64_t out, int64_t in) {
        W.push_back(add_parameter(name + std::to_string(i), xavier_uniform({out, in}, random)));
      };
      add("q", D, D), add("k", D, D), add("v", D, D), add("o", D, D);
      add("gate", inner, D), add("up", inner, D), add("down", D, inner);
    }
  }
  Tensor product(const Tensor& x, const Tensor& w) const {  // x w^T
    // The slow way is that of program 2: all single products, by broadcasting, and their sums.
    return matrices ? linear(x, w) : sum(reshape(x, {x.dim(0), 1, x.dim(1)}) * w, 2);
  }
  Tensor loss(const numbers::Texts& batch) const {
    const nn::Sequences texts = nn::packed_sequences(batch.lengths);
    const AttentionLayout layout{.heads = heads, .queries = texts.spans, .keys = texts.spans, .causal = true};
    const Tensor gain = ones({D});
    Tensor x = embedding(E, batch.ids);
    for (const Tensor* w = W.data(); w != W.data() + W.size(); w += 7) {
      const Tensor h = rms_norm(x, gain);
      const Tensor q = rope(product(h, w[0]), heads, texts.positions),
                   k = rope(product(h, w[1]), heads, texts.positions);
      const Tensor v = product(h, w[2]);
      x = x + product(fused ? attention(q, k, v, layout) : plain_attention(q, k, v, layout), w[3]);
      const Tensor g = rms_norm(x, gain);
      x = x + product(swiglu(product(g, w[4]), product(g, w[5])), w[6]);
    }
    x = rms_norm(x, gain);
    const CrossEntropyOptions sum_of_all{.normalizer = 1};  // parts add up
    return fused ? linear_cross_entropy(x, E, batch.next, sum_of_all)
                 : cross_entropy(product(x, E), batch.next, sum_of_all);
  }
  const int64_t V = static_cast<int64_t>(numbers::alphabet.size());
  const Tensor E;
  std::vector<Tensor> W;
  bool matrices = false, fused = false;
};

int main() {
  Random random(1);
  GPT model(random);
  const int threads = omp_get_max_threads();
  double slowest = 0;
  const auto measure = [&](const char* what, int parts, int times, bool parallel) {
    Random texts(2);  // the same 64 texts each time
    std::vector<numbers::Texts> batch;
    for (int i = 0; i < parts; ++i) batch.push_back(numbers::draw_texts(64 / parts, texts));
    std::vector<double> losses(parts);
    const auto learn = [&](int64_t i) {
      const Tensor loss = model.loss(batch[i]);
      losses[i] = loss.item();
      loss.backward();
    };
    omp_set_num_threads(parallel ? threads : 1);
    double best = INFINITY;  // the quickest of some: what else runs on this machine only ever adds
    for (int time = 0; time < times; ++time) {
      model.zero_grad();
      const auto start = std::chrono::steady_clock::now();
      if (parallel)
        parallel_backward(parts, learn);
      else
        for (int i = 0; i < parts; ++i) learn(i);
      best =
          std::min(best, std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
    }
    slowest = std::max(slowest, best);
    double loss = 0, tokens = 0;
    for (int i = 0; i < parts; ++i) loss += losses[i], tokens += static_cast<double>(batch[i].next.size());
    std::printf("%-42s loss %.4f %6.0f ms %6.1f times as fast\n", what, loss / tokens, best, slowest / best);
  };
  measure("products and sums, text by text", 64, 2, false);
  model.matrices = true;
  measure("matrix products", 64, 5, false);
  measure("packed: all texts in one matrix", 1, 5, false);
  model.fused = true;
  measure("fused attention and loss", 1, 9, false);
  measure("parallel: 16 parts on all cores", 16, 9, true);
}
