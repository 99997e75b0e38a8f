// 6. Attention by hand: from dot products to a causal layer. A token asks, the others answer.
#include <cstdio>
#include <string>

#include "core/ops.h"

using namespace difftensor;

const std::vector<std::string> words{"the", "cat", "drank", "milk", "as", "it", "was", "thirsty"};
const int64_t T = 8, d = 2;

// A row of numbers for each word.
void print(const char* title, const Tensor& x) {
  std::printf("%s\n", title);
  const std::vector<Scalar> values = x.values();
  for (int64_t i = 0; i < T; ++i) {
    std::printf("  %-8s", words[i].c_str());
    for (int64_t j = 0; j < x.dim(1); ++j) std::printf(" %5.2f", values[i * x.dim(1) + j]);
    std::printf("\n");
  }
}

// A map as a picture: the darker, the more the word of the row takes from that of the column.
void draw(const char* title, const Tensor& map) {
  std::printf("%s\n", title);
  const std::vector<Scalar> values = map.values();
  for (int64_t i = 0; i < T; ++i) {
    std::printf("  %-8s|", words[i].c_str());
    for (int64_t j = 0; j < T; ++j)
      for (int cell = 0; cell < 3; ++cell)
        std::putchar(" .:-=+*#%@"[static_cast<int>(values[i * T + j] * Scalar(9.99))]);
    std::printf("|\n");
  }
}

int main() {
  // Of each word three things are needed. In a model they are learned, here they are written down so that they can be
  // read: the features are "an animal" and "a thing".
  //   query: what it looks for        key: what it can be found by     value: what it says to those who find it
  const Tensor q = tensor({0, 0, 0, 0, 2, 1, 0, 1, 0, 0, 2, 0, 0, 0, 1, 0}, {T, d});
  const Tensor k = tensor({0, 0, 3, 0, 0, 0, 0, 3, 0, 0, 1, 1, 0, 0, 0, 0}, {T, d});
  const Tensor v = tensor({0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}, {T, d});

  // 1. How well does a key fit a query? Their dot product says: sum_f q_f k_f. "it" is word 5.
  std::printf("how well each word fits what \"it\" looks for, an animal:\n");
  for (int64_t j = 0; j < T; ++j)
    std::printf("  %-8s %5.2f\n", words[j].c_str(), sum(slice(q, 0, 5, 6) * slice(k, 0, j, j + 1)).item());

  // 2. All queries with all keys are one matrix product. Divided by sqrt(d), lest scores grow with the width.
  const Tensor scores = matmul(q, k, false, /*transpose_b=*/true) / std::sqrt(Scalar(d));

  // 3. Softmax makes weights of a row of scores: positive, and 1 together. A score higher by 1 weighs e times as much.
  const Tensor map = softmax(scores);
  draw("the map: who takes from whom", map);

  // 4. What a word gets is the mean of all values, by these weights. "it" now knows that it is an animal.
  print("what each word gets: an animal, a thing", matmul(map, v));

  // 5. A model that writes must not see what comes after. Those scores become -infinity before the softmax, so that
  // their weights are 0 and the others still sum to 1.
  Tensor future = zeros({T, T});
  for (int64_t i = 0; i < T; ++i)
    for (int64_t j = i + 1; j < T; ++j) future.data()[i * T + j] = 1;
  const Tensor causal = softmax(masked_fill(scores, future, -INFINITY));
  draw("the causal map: nobody looks ahead", causal);
  const Tensor out = matmul(causal, v);

  // Is that so? Another last word must change nothing that stands before it.
  const Tensor other_v = concat({slice(v, 0, 0, T - 1), full({1, d}, 9)}, 0), other = matmul(causal, other_v);
  const auto changed = [&](int64_t begin, int64_t end) {
    const Tensor difference = slice(other, 0, begin, end) - slice(out, 0, begin, end);
    return max(difference * difference).item() > 0;
  };
  std::printf("another last word changes the words before it: %s; itself: %s\n", changed(0, T - 1) ? "yes" : "no",
              changed(T - 1, T) ? "yes" : "no");

  // 6. The library's op is the same, for many heads and sentences at once, and stores no map.
  const Tensor fused = attention(q, k, v, {.heads = 1, .queries = {{0, T}}, .keys = {{0, T}}, .causal = true});
  const Tensor difference = fused - out;
  std::printf("attention() gives the same numbers: %s\n", max(difference * difference).item() < 1e-10 ? "yes" : "no");
}
