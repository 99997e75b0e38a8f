#pragma once
// Softmax attention that prefers, or forbids, keys by how far away they are: two kinds.
#include <limits>

#include "nn/attention.h"

namespace layers {
using namespace difftensor;

/// softmax(Q K^T / sqrt(d) + bias) V for a bias that a subclass chooses by head, query and key. Not fused: it is made
/// of ops, as core/ops/plain_attention.cpp, and holds whole maps. Throws if the configuration has a lambda_init.
class BiasedAttention : public nn::Attention {
 public:
  BiasedAttention(const nn::AttentionConfig& c, Random& random)
      : Attention(c, 1, c.width, c.width / std::max(1, c.heads), random) {
    require_no_lambda_init();
  }

 protected:
  /// What is added to the score of the key at this place of its sentence, `distance` tokens before the query; negative
  /// if it comes after.
  virtual Scalar bias(int head, int64_t distance, int64_t key) const = 0;

  Tensor mix(const Tensor&, const Tensor& q, const Tensor& k, const Tensor& v,
             const AttentionLayout& layout) const override {
    const int h = layout.heads;
    std::vector<Tensor> sentences;
    for (size_t b = 0; b < layout.queries.size(); ++b) {
      const Span &to = layout.queries[b], &from = layout.keys[b];
      const Tensor scores = matmul(split_heads(q, to, h), split_heads(k, from, h), false, true);  // (h, T, S)
      const Tensor bias = biases(to, from, layout.causal);
      // What all scores of a query share is to come off before anything is rounded: beside it, bias and differences
      // would vanish. It changes no map, so it is a constant. Where a query sees no key it is the lowest number.
      const Tensor shared = max(pad(scores.detach() + bias, {0, 1}, std::numeric_limits<Scalar>::lowest()), -1, true);
      const Tensor A = softmax((scores - shared) / std::sqrt(static_cast<Scalar>(head_width)) + bias);
      sentences.push_back(merge_heads(matmul(A, split_heads(v, from, h))));  // (T, D)
    }
    return concat(sentences, 0);
  }

 private:
  Tensor biases(const Span& to, const Span& from, bool causal) const {
    Tensor all(Shape{config.heads, to.length, from.length});
    for (int64_t i = 0; i < all.numel(); ++i) {
      const int64_t query = i / from.length % to.length, key = i % from.length;
      const int64_t distance = query + from.length - to.length - key;  // with a cache, queries are the last of the keys
      const int head = static_cast<int>(i / (to.length * from.length));
      all.data()[i] = causal && distance < 0 ? -std::numeric_limits<Scalar>::infinity() : bias(head, distance, key);
    }
    return all;
  }
};

/// Each token sees the `window` tokens that end with itself, where attention is not causal as many that begin with it,
/// and the first `sinks` of its sentence, on which heads that have nothing to look for rest (Beltagy et al. 2020, arXiv 2004.05150; Xiao et al. 2023, arXiv 2309.17453).
/// Throws unless window > 0 and sinks >= 0.
class SlidingWindowAttention : public BiasedAttention {
 public:
  SlidingWindowAttention(const nn::AttentionConfig& c, int64_t window, int64_t sinks, Random& random)
      : BiasedAttention(c, random), window(window), sinks(sinks) {
    require(window > 0 && sinks >= 0, "SlidingWindowAttention", "window ", window, " and ", sinks, " sinks");
  }
  const int64_t window, sinks;

 protected:
  Scalar bias(int, int64_t distance, int64_t key) const override {
    return std::abs(distance) < window || key < sinks ? 0 : -std::numeric_limits<Scalar>::infinity();
  }
};

/// Attention with linear biases (Press et al. 2021, arXiv 2108.12409): head i of h, from 1, takes 2^(-8 i / h) off a
/// score for each token of distance. No other positions are needed, and sentences may be longer than in training.
class AlibiAttention : public BiasedAttention {
 public:
  using BiasedAttention::BiasedAttention;

 protected:
  Scalar bias(int head, int64_t distance, int64_t) const override {
    const Scalar slope = std::exp2(Scalar(-8) * static_cast<Scalar>(head + 1) / static_cast<Scalar>(config.heads));
    return -slope * static_cast<Scalar>(std::abs(distance));
  }
};

}  // namespace layers
