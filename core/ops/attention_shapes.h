#pragma once
// The shapes of one call of fused attention, checked once, and the pieces its work is cut into: for every sentence and
// head, strips of queries.
#include <algorithm>

#include "core/kernels/simd.h"
#include "core/ops.h"

namespace difftensor::inline DT_PRECISION {

/// Consecutive queries of one sentence. Their map of one head is a matrix (rows, stride()): a row for each query, with
/// a column for each key that the strip sees.
struct Strip {
  int64_t query;     ///< the first one's row in q
  int64_t rows;      ///< how many there are
  int64_t offset;    ///< causal: the first one sees keys 0 ... offset, the next one more, and so on
  int64_t S;         ///< keys of the sentence
  int64_t map_size;  ///< numbers in the largest map of the sentence's strips
  bool causal;

  /// Keys that query `row` of the strip sees: the first so many of S.
  int64_t sees(int64_t row) const { return causal ? std::clamp<int64_t>(row + offset + 1, 0, S) : S; }
  /// Keys that any of them sees; the last one sees the most.
  int64_t width() const { return sees(rows - 1); }
  /// From one row of a map to the next: whole SIMD registers, so that a row of 14 keys costs one step, not 14.
  int64_t stride() const { return kernels::whole_registers(width()); }
};

/// Do no two spans have a row in common? Empty ones have none, wherever they are.
inline bool are_disjoint(Spans spans) {
  std::erase_if(spans, [](const Span& span) { return span.length == 0; });
  std::sort(spans.begin(), spans.end(), [](const Span& x, const Span& y) { return x.begin < y.begin; });
  for (size_t i = 1; i < spans.size(); ++i)
    if (spans[i - 1].begin + spans[i - 1].length > spans[i].begin) return false;
  return true;
}

/// Do the sentences lie end to end, in this order, and take up all `rows`? Then each row belongs to exactly one.
inline bool cover_every_row(const Spans& spans, int64_t rows) {
  int64_t end = 0;
  for (const Span& span : spans) {
    if (span.begin != end) return false;
    end += span.length;
  }
  return end == rows;
}

/// q (N, h maps d), k (M, h maps d) or (M, h d), v (M, h e) -> out (N, h e). A head's features lie side by side in a
/// row: q_at() and its kin say where.
struct AttentionShapes {
  const char* op;                     ///< named in errors
  AttentionLayout layout;             ///< heads h, where the sentences lie, causal or not
  int maps;                           ///< of each output head: 1 in softmax attention, 2 in differential attention
  int64_t N, M;                       ///< rows of q and out, rows of k and v
  int64_t d, e;                       ///< features of a query or key head, and of a value head
  int64_t q_width, k_width, v_width;  ///< features of a row of q, of k, and of v or out
  bool common_keys;                   ///< k is (M, h d): both maps of a head use the same keys
  bool lambda_per_token;              ///< lambda is (N, h), not one number

  /// Throws std::invalid_argument, naming `op` and the shapes, unless they fit. `lambda` is null in softmax attention.
  AttentionShapes(const char* name, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor* lambda,
                  const AttentionLayout& sentences)
      : op(name), layout(sentences), maps(lambda ? 2 : 1) {
    const int64_t h = layout.heads;
    require(q.rank() == 2 && k.rank() == 2 && v.rank() == 2 && k.dim(0) == v.dim(0), op, "q ", q.shape(), ", k ",
            k.shape(), ", v ", v.shape(), " must be matrices, k and v of one length");
    require(h > 0 && q.dim(1) % (h * maps) == 0 && v.dim(1) % h == 0, op, "q ", q.shape(), " and v ", v.shape(),
            " do not split into ", h, " heads", maps == 2 ? " of two maps each" : "");
    N = q.dim(0), M = k.dim(0), q_width = q.dim(1), k_width = k.dim(1), v_width = v.dim(1);
    d = q_width / (h * maps), e = v_width / h;
    common_keys = maps == 2 && k_width == h * d;
    require(k_width == q_width || common_keys, op, "q ", q.shape(), " and k ", k.shape(),
            " have heads of different widths");
    lambda_per_token = lambda && lambda->numel() != 1;
    require(!lambda_per_token || lambda->shape() == Shape{N, h}, op, "lambda ",
            lambda_per_token ? lambda->shape() : Shape{}, " is neither one number nor (tokens, heads) = ", Shape{N, h});
    require(layout.queries.size() == layout.keys.size(), op, layout.queries.size(), " query spans for ",
            layout.keys.size(), " key spans");
    require_within(layout.queries, N, "query");
    const std::vector<int32_t>& list = layout.key_rows;
    require_within(layout.keys, list.empty() ? M : static_cast<int64_t>(list.size()), "key");
    require(std::all_of(list.begin(), list.end(), [this](int32_t row) { return row >= 0 && row < M; }), op,
            "a list of keys leaves the ", M, " rows there are");
    require(list.empty() || (!grad_enabled() && std::all_of(layout.queries.begin(), layout.queries.end(),
                                                            [](const Span& span) { return span.length == 1; })),
            op, "keys are listed for sentences of one query each, in a NoGrad scope");
    require(are_disjoint(layout.queries), op, "query spans overlap: a row of the result would have two values");
  }

  /// Where in q the features begin that this row has for map 0 or 1 of an output head; the same in k; and in v, or out,
  /// whose heads have no maps.
  int64_t q_at(int64_t row, int64_t head, int map) const { return row * q_width + (head * maps + map) * d; }
  int64_t k_at(int64_t row, int64_t head, int map) const {
    return row * k_width + (head * key_heads() + key_head(map)) * d;
  }
  int64_t v_at(int64_t row, int64_t head) const { return row * v_width + head * e; }

  /// Key heads of an output head, and which of them a map uses.
  int key_heads() const { return common_keys ? 1 : maps; }
  int key_head(int map) const { return common_keys ? 0 : map; }

  /// Calls task(span of queries, span of keys, head) for every sentence and output head, in parallel.
  template <class F>
  void for_each_head(F task) const {
    const int64_t h = layout.heads, sentences = static_cast<int64_t>(layout.queries.size());
    parallel_for(sentences * h, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) task(layout.queries[i / h], layout.keys[i / h], i % h);
    });
  }
  /// Calls task(strip) for a sentence's strips, one after the other: few enough queries that a strip's maps stay in the
  /// second-level cache, enough that products are worth their while.
  template <class F>
  void for_each_strip(Span query, Span key, F task) const {
    const int64_t height = std::clamp<int64_t>(131072 / std::max<int64_t>(1, key.length), 32, 128);
    const int64_t map_size = std::min(height, query.length) * kernels::whole_registers(key.length);
    for (int64_t t = 0; t < query.length; t += height)
      task(Strip{query.begin + t, std::min(height, query.length - t), t + key.length - query.length, key.length,
                 map_size, layout.causal});
  }

 private:
  void require_within(const Spans& spans, int64_t rows, const char* what) const {
    for (const Span& s : spans)
      require(s.begin >= 0 && s.length >= 0 && s.begin <= rows && s.length <= rows - s.begin, op, what, " span of ",
              s.length, " rows at ", s.begin, " leaves the ", rows, " rows there are");
  }
};

}  // namespace difftensor::inline DT_PRECISION
