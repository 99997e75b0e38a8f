#pragma once
// Differential attention. Each output head has two softmax maps and subtracts one from the other: what both attend to
// by mistake cancels, as the noise common to two wires does in a differential amplifier. nn/README.md says more.
#include <cmath>

#include "nn/attention.h"

namespace difftensor::inline DT_PRECISION::nn {

/// Differential attention as published (Ye et al. 2024, arXiv 2410.05258, section 2.1).
///
/// Of the 2h query and key heads of width d = D / 2h, heads 2i and 2i + 1 are the pair of output head i, whose values
/// are 2d wide. One lambda serves the layer:
///   lambda_init = 0.8 - 0.6 exp(-0.3 depth)          depth from 0: the paper's l - 1
///   lambda = exp(lambda_q1 . lambda_k1) - exp(lambda_q2 . lambda_k2) + lambda_init
///   A1 = softmax(Q_2i K_2i^T / sqrt(d)),  A2 = softmax(Q_2i+1 K_2i+1^T / sqrt(d))
///   head_i = (1 - lambda_init) RMSNorm((A1 - lambda A2) V_i)
/// The norm brings each head, whose size depends on how much cancelled, back to one scale; the fixed factor makes
/// gradients flow as in a Transformer with softmax attention. Without the norm there is no
/// factor either. Throws unless D is divisible by 2h (and d by 2, if rotary),
/// and unless lambda_init is finite.
class MultiheadDiffAttention : public Attention {
 public:
  MultiheadDiffAttention(const AttentionConfig& c, Random& random)
      : Attention(c, 2, c.width, c.width / std::max(1, c.heads) / 2, random, true),
        lambda_init(c.lambda_init.value_or(Scalar(0.8 - 0.6 * std::exp(-0.3 * c.depth)))),
        lambda_q1(add_parameter("lambda_q1", randn({head_width}, random, Scalar(0.1)))),
        lambda_k1(add_parameter("lambda_k1", randn({head_width}, random, Scalar(0.1)))),
        lambda_q2(add_parameter("lambda_q2", randn({head_width}, random, Scalar(0.1)))),
        lambda_k2(add_parameter("lambda_k2", randn({head_width}, random, Scalar(0.1)))) {
    require(std::isfinite(lambda_init), "Attention", "lambda_init must be finite");
  }

  /// How much of the second map is subtracted: a scalar.
  Tensor lambda() const { return exp(sum(lambda_q1 * lambda_k1)) - exp(sum(lambda_q2 * lambda_k2)) + lambda_init; }

  const Scalar lambda_init;
  const Tensor lambda_q1, lambda_k1, lambda_q2, lambda_k2;  ///< (d) each

 protected:
  Tensor mix(const Tensor&, const Tensor& q, const Tensor& k, const Tensor& v,
             const AttentionLayout& layout) const override {
    Tensor l = lambda();
    if (trace) trace->lambda = l;
    return diff_attention(q, k, v, l, layout);
  }
  bool takes_listed_rows() const override { return true; }
  // To scale the gain takes 2d products; to scale the result would take N D.
  Tensor head_gain() const override { return subln->weight * (1 - lambda_init); }
};

/// Version 2 (huggingface.co/blog/microsoft/diff-attn-v2): keys and values as in softmax attention with h heads of
/// width d = D / h, twice the queries, and a lambda that each token computes for each head. No norm and no lambda_init.
///   lambda = sigmoid(x W_lambda^T)                   (N, h)
///   head_i = (softmax(Q_2i K_i^T / sqrt(d)) - lambda_i softmax(Q_2i+1 K_i^T / sqrt(d))) V_i
/// Throws unless D is divisible by h (and d by 2, if rotary), or if the configuration has a lambda_init.
class MultiheadDiffAttentionV2 : public Attention {
 public:
  MultiheadDiffAttentionV2(const AttentionConfig& c, Random& random)
      : Attention(c, 1, 2 * c.width, c.width / std::max(1, c.heads), random),
        lambda_proj(add_module<Linear>("lambda_proj", c.width, c.heads, false, random)) {
    require_no_lambda_init();
  }

  Linear& lambda_proj;

 protected:
  Tensor mix(const Tensor& x, const Tensor& q, const Tensor& k, const Tensor& v,
             const AttentionLayout& layout) const override {
    Tensor l = sigmoid(lambda_proj(x));
    if (trace) trace->lambda = l;
    return diff_attention(q, k, v, l, layout);
  }
  bool takes_listed_rows() const override { return true; }
};

}  // namespace difftensor::inline DT_PRECISION::nn
