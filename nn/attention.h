#pragma once
// Multi-head attention: what its three kinds share, and the softmax kind. The differential ones: nn/diff_attention.h.
#include "nn/linear.h"

namespace difftensor::inline DT_PRECISION::nn {

/// The sentences of a packed batch: where each lies, and each token's place in its own sentence.
struct Sequences {
  Spans spans;
  std::vector<int32_t> positions;
};

/// Sentences of these lengths end to end, every token counted from 0 in its sentence.
inline Sequences packed_sequences(const std::vector<int64_t>& lengths) {
  Sequences s{packed_spans(lengths), {}};
  for (int64_t length : lengths)
    for (int64_t i = 0; i < length; ++i) s.positions.push_back(static_cast<int32_t>(i));
  return s;
}

/// Keys and values ready to be attended to. In decoding they are kept from step to step.
struct KeyValues {
  Tensor k, v;
  Spans spans;  ///< of each sentence, in the rows of k and v
};

/// What one call of attend() computed its maps from, for those who want to look at them.
struct AttentionTrace {
  Tensor q, k, lambda;
  AttentionLayout layout;
};

struct AttentionConfig {
  int64_t width;        ///< D
  int heads;            ///< output heads h
  bool rotary = false;  ///< rotate queries and keys by their tokens' positions
  int depth = 0;        ///< of the layer in its stack, from 0; differential attention's lambda_init grows with it
};

/// The frame of attention: project, attend (each kind in its own way), project back.
///   out = W_o attend(W_q x, W_k memory, W_v memory)
/// One object serves self-attention (memory = x) and cross-attention.
class Attention : public Module {
 public:
  /// (N, D) asks (M, D): -> (N, D). Both are packed; sentence b of x asks sentence b of memory.
  Tensor operator()(const Tensor& x, const Sequences& xs, const Tensor& memory, const Sequences& ms,
                    bool causal) const {
    return attend(x, xs, keys_values(memory, ms), causal);
  }
  KeyValues keys_values(const Tensor& memory, const Sequences& ms) const {
    Tensor k = k_proj(memory);
    return {config.rotary ? rope(k, static_cast<int>(k.dim(1) / head_width), ms.positions) : k, v_proj(memory),
            ms.spans};
  }
  Tensor attend(const Tensor& x, const Sequences& xs, const KeyValues& memory, bool causal) const {
    Tensor q = q_proj(x);
    if (config.rotary) q = rope(q, static_cast<int>(q.dim(1) / head_width), xs.positions);
    AttentionLayout layout{config.heads, xs.spans, memory.spans, causal};
    if (trace) *trace = {q, memory.k, {}, layout};
    return out_proj(mix(x, q, memory.k, memory.v, layout));
  }

  const AttentionConfig config;
  const int64_t head_width;  ///< d, of a query or key head
  Linear q_proj, k_proj, v_proj, out_proj;
  AttentionTrace* trace = nullptr;  ///< if set, attend() leaves its queries, keys and lambda there

 protected:
  /// D must divide by heads x `maps`; queries have `query_width` features in all.
  Attention(const AttentionConfig& c, int maps, int64_t query_width, int64_t head_width, Random& random)
      : config(c),
        head_width(head_width),
        q_proj(checked(c, maps, head_width), query_width, false, random),
        k_proj(c.width, c.width, false, random),
        v_proj(c.width, c.width, false, random),
        out_proj(c.width, c.width, false, random) {
    add_module("q_proj", q_proj);
    add_module("k_proj", k_proj);
    add_module("v_proj", v_proj);
    add_module("out_proj", out_proj);
  }
  virtual Tensor mix(const Tensor& x, const Tensor& q, const Tensor& k, const Tensor& v,
                     const AttentionLayout& layout) const = 0;

 private:
  static int64_t checked(const AttentionConfig& c, int maps, int64_t head_width) {
    require(c.heads > 0 && c.width > 0 && c.width % (c.heads * maps) == 0, "Attention", "width ", c.width,
            " does not divide by ", c.heads, " heads", maps == 2 ? " of two maps each" : "");
    require(!c.rotary || head_width % 2 == 0, "Attention", "rotary positions need an even head width, not ",
            head_width);
    return c.width;
  }
};

/// softmax(Q K^T / sqrt(d)) V with h heads of width d = D / h (Vaswani et al. 2017).
class MultiheadAttention : public Attention {
 public:
  MultiheadAttention(const AttentionConfig& c, Random& random)
      : Attention(c, 1, c.width, c.width / std::max(1, c.heads), random) {}

 protected:
  Tensor mix(const Tensor&, const Tensor& q, const Tensor& k, const Tensor& v,
             const AttentionLayout& layout) const override {
    return attention(q, k, v, layout);
  }
};

}  // namespace difftensor::inline DT_PRECISION::nn
