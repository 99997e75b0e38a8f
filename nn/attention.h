#pragma once
// Multi-head attention: what its three kinds have in common, and the softmax kind. The differential ones are in
// nn/diff_attention.h. What the maps are is said in core/ops/attention.h and written out in
// core/ops/plain_attention.cpp.
//
// Batches are packed: sentences lie end to end in the rows of one matrix, N tokens in all, so x is (N, D). Of all
// layers only attention needs to know where each sentence begins; Sequences says it.
#include <optional>

#include "nn/linear.h"
#include "nn/norm.h"

namespace difftensor::inline DT_PRECISION::nn {

/// The sentences of a packed batch.
struct Sequences {
  Spans spans;                     ///< where each lies: begin and length, in rows
  std::vector<int32_t> positions;  ///< of each token in its own sentence, for rotary or sinusoidal positions
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
  Tensor k, v;                     ///< (M, features of all heads) each
  Spans spans;                     ///< of each sentence, in the rows of k and v
  std::vector<int32_t> rows = {};  ///< if not empty, spans are of this list of rows: see AttentionLayout::key_rows
};

/// What one call of attend() computed its maps from, for those who want to look at them: attention_map() in
/// core/ops/attention.h makes the maps of it.
struct AttentionTrace {
  Tensor q, k;
  Tensor lambda;  ///< undefined in softmax attention
  AttentionLayout layout;
};

/// What an attention layer is.
struct AttentionConfig {
  int64_t width;        ///< D, the features of a token; the heads divide them among themselves
  int heads;            ///< output heads h
  bool rotary = false;  ///< rotate queries and keys by their tokens' positions (RoPE)
  int depth = 0;        ///< of the layer in its stack, from 0; differential attention's lambda_init grows with it
  std::optional<bool> head_norm = {};      ///< normalise each head's result; if unset, as published: diff alone does
  std::optional<Scalar> lambda_init = {};  ///< diff only: this instead of what the depth gives
};

/// The frame of attention: project, mix (each kind in its own way), project back.
///   q = x W_q^T,  k = memory W_k^T,  v = memory W_v^T,  out = mix(q, k, v) W_o^T
/// `memory` is what is attended to: x itself in self-attention, the encoder's output in cross-attention.
/// Between mix and W_o there may be a head norm, RMSNorm over the D / h features of each head, one gain for all heads.
/// Differential attention was published with it. That any kind can have it tells what it does from what the subtraction
/// does.
class Attention : public Module {
 public:
  /// x (N, D) asks memory (M, D): -> (N, D). Both are packed, as xs and ms say; sentence b of x asks sentence b of
  /// memory. Causal: token i of T sees tokens j <= i + S - T of the S in memory. If T = S, these are itself and those
  /// before it. Throws if the sentences are not as many tokens as there are.
  Tensor operator()(const Tensor& x, const Sequences& xs, const Tensor& memory, const Sequences& ms,
                    bool causal) const {
    return attend(x, xs, keys_values(memory, ms), causal);
  }
  /// The first half of it, which depends on the memory alone: k (rotated, if so configured) and v.
  KeyValues keys_values(const Tensor& memory, const Sequences& ms) const {
    check_tokens(memory, ms);
    Tensor k = k_proj(memory);
    return {config.rotary ? rope(k, static_cast<int>(k.dim(1) / head_width), ms.positions) : k, v_proj(memory),
            ms.spans};
  }
  /// The second half, with keys and values from keys_values(), or such as a cache has gathered.
  Tensor attend(const Tensor& x, const Sequences& xs, const KeyValues& memory, bool causal) const {
    check_tokens(x, xs);
    Tensor q = q_proj(x), k = memory.k, v = memory.v;
    if (config.rotary) q = rope(q, static_cast<int>(q.dim(1) / head_width), xs.positions);
    AttentionLayout layout{config.heads, xs.spans, memory.spans, causal, memory.rows};
    if (!memory.rows.empty() && !takes_listed_rows()) {
      k = gather_rows(k, memory.rows), v = gather_rows(v, memory.rows);
      layout.key_rows = {};
    }
    if (trace) *trace = {q, k, {}, layout};
    const Tensor heads = mix(x, q, k, v, layout);
    // A gain of D / h features makes rms_norm take each head by itself.
    return out_proj(subln ? rms_norm(heads, head_gain()) : heads);
  }

  const AttentionConfig config;
  const int64_t head_width;  ///< d, features of a query or key head
  Linear &q_proj, &k_proj, &v_proj, &out_proj;
  RMSNorm* const subln;  ///< the head norm, null if there is none
  /// If set, attend() leaves there what its maps are made of: of one thread alone. It keeps a training's graph alive.
  AttentionTrace* trace = nullptr;

 private:
  static void check_tokens(const Tensor& x, const Sequences& s) {
    int64_t tokens = 0;
    for (const Span& span : s.spans) tokens += span.length;
    require(tokens == x.dim(0), "Attention", "x ", x.shape(), " with sentences of ", tokens, " tokens in all");
  }

 protected:
  /// `maps`: key heads of an output head (2 in diff, otherwise 1). `query_width`: features of all queries of a token.
  /// `one_head`: of one query or key head, d. Throws unless D is divisible by heads x maps, and one_head by 2 if rotary.
  /// (A subclass computes it before `heads` has been checked, so it takes care not to divide by 0.) `head_norm`: is there
  /// one where the configuration leaves it open? `key_width`, `value_width`: features of all keys and values
  /// of a token; 0 is D. Where they are fewer, as when heads share them, mix() makes D of them.
  Attention(const AttentionConfig& c, int maps, int64_t query_width, int64_t one_head, Random& random,
            bool head_norm = false, int64_t key_width = 0, int64_t value_width = 0)
      : config(c),
        head_width(one_head),
        q_proj(add_module<Linear>("q_proj", checked_width(c, maps, one_head), query_width, false, random)),
        k_proj(add_module<Linear>("k_proj", c.width, key_width ? key_width : c.width, false, random)),
        v_proj(add_module<Linear>("v_proj", c.width, value_width ? value_width : c.width, false, random)),
        out_proj(add_module<Linear>("out_proj", c.width, c.width, false, random)),
        subln(c.head_norm.value_or(head_norm) ? &add_module<RMSNorm>("subln", c.width / c.heads) : nullptr) {}
  /// For kinds without: throws if there is a lambda_init.
  void require_no_lambda_init() const {
    require(!config.lambda_init, "Attention", "lambda_init is of diff attention only");
  }
  /// What the kinds differ in: from q (N, query_width), k (M, key_width) and v (M, value_width), heads side by side in
  /// each row, to the heads' results (N, D). Also gets x (N, D), of which version 2 makes its lambda.
  virtual Tensor mix(const Tensor& x, const Tensor& q, const Tensor& k, const Tensor& v,
                     const AttentionLayout& layout) const = 0;
  /// Does mix() heed layout.key_rows, where a cache keeps keys and values in rows of any order? If not, as here, it
  /// gets them in order, copied.
  virtual bool takes_listed_rows() const { return false; }
  /// The head norm's gain (D / h), where there is a head norm.
  virtual Tensor head_gain() const { return subln->weight; }

 private:
  static int64_t checked_width(const AttentionConfig& c, int64_t maps, int64_t head_width) {
    require(c.heads > 0 && c.width > 0 && c.width % (c.heads * maps) == 0, "Attention", "width ", c.width,
            " is not divisible by ", c.heads, " heads", maps == 2 ? " of two maps each" : "");
    require(!c.rotary || head_width % 2 == 0, "Attention", "rotary positions need an even head width, not ",
            head_width);
    return c.width;
  }
};

/// Softmax attention (Vaswani et al. 2017, arXiv 1706.03762), with h heads of width d = D / h:
///   head_i = softmax(Q_i K_i^T / sqrt(d)) V_i
/// Throws unless D is divisible by h (and d by 2, if rotary), or if the configuration has a lambda_init.
class MultiheadAttention : public Attention {
 public:
  MultiheadAttention(const AttentionConfig& c, Random& random)
      : Attention(c, 1, c.width, c.width / std::max(1, c.heads), random) {
    require_no_lambda_init();
  }

 protected:
  Tensor mix(const Tensor&, const Tensor& q, const Tensor& k, const Tensor& v,
             const AttentionLayout& layout) const override {
    return attention(q, k, v, layout);
  }
  bool takes_listed_rows() const override { return true; }
};

}  // namespace difftensor::inline DT_PRECISION::nn
