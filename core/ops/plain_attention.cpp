// Attention written out with small ops. Read this first; core/ops/attention.cpp computes the same without storing the
// maps.
#include <cmath>
#include <limits>

#include "core/ops.h"

namespace difftensor::inline DT_PRECISION {

Tensor split_heads(const Tensor& x, const Span& span, int64_t heads) {
  require(x.rank() == 2 && heads > 0 && x.dim(1) % heads == 0, "split_heads", x.shape(), " in ", heads, " heads");
  require(span.begin >= 0 && span.length >= 0 && span.begin + span.length <= x.dim(0), "split_heads", "rows ",
          span.begin, " to ", span.begin + span.length, " of ", x.shape());
  Tensor rows = slice(x, 0, span.begin, span.begin + span.length);
  return permute(reshape(rows, {span.length, heads, x.dim(1) / heads}), {1, 0, 2});
}

Tensor attention_map(const Tensor& q, const Tensor& k, bool causal) {
  const int64_t T = q.dim(1), S = k.dim(1);
  Tensor scores = matmul(q, k, false, true);
  if (causal) {
    Tensor future = zeros({T, S});  // 1 where key j comes after query i
    for (int64_t i = 0; i < T; ++i)
      for (int64_t j = std::max<int64_t>(0, i + S - T + 1); j < S; ++j) future.data()[i * S + j] = 1;
    scores = masked_fill(scores, future, -std::numeric_limits<Scalar>::infinity());
  }
  return softmax(scores, 1 / std::sqrt(static_cast<Scalar>(q.dim(2))));
}

Tensor merge_heads(const Tensor& x) {
  require(x.rank() == 3, "merge_heads", "not (heads, T, w), but ", x.shape());
  return reshape(permute(x, {1, 0, 2}), {x.dim(1), x.dim(0) * x.dim(2)});
}

namespace {
// Results are joined one after the other, so the spans must be.
void check_spans(const char* op, const Tensor& q, const AttentionLayout& layout) {
  require(layout.queries.size() == layout.keys.size(), op, layout.queries.size(), " query spans for ",
          layout.keys.size(), " key spans");
  require(layout.key_rows.empty(), op,
          "takes no list of keys, as decoding with a cache makes it: gather_rows() them first");
  int64_t row = 0;
  for (const Span& span : layout.queries) {
    require(span.begin == row, op, "query spans must follow one another, without a gap");
    row += span.length;
  }
  require(row == q.dim(0), op, "the query spans hold ", row, " of ", q.dim(0), " rows");
}

// Every second head of x (2h, T, w), beginning with `first`: (h, T, w).
Tensor every_second(const Tensor& x, int first) {
  Tensor pairs = reshape(x, {x.dim(0) / 2, 2, x.dim(1), x.dim(2)});
  return reshape(slice(pairs, 1, first, first + 1), {x.dim(0) / 2, x.dim(1), x.dim(2)});
}
}  // namespace

Tensor plain_attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionLayout& layout) {
  check_spans("plain_attention", q, layout);
  const int64_t h = layout.heads;
  std::vector<Tensor> sentences{slice(v, 0, 0, 0)};  // no rows, for a batch of no sentences
  for (size_t b = 0; b < layout.queries.size(); ++b) {
    Tensor Q = split_heads(q, layout.queries[b], h), K = split_heads(k, layout.keys[b], h);
    Tensor V = split_heads(v, layout.keys[b], h);
    sentences.push_back(merge_heads(matmul(attention_map(Q, K, layout.causal), V)));
  }
  return concat(sentences, 0);
}

Tensor plain_diff_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& lambda,
                            const AttentionLayout& layout) {
  check_spans("plain_diff_attention", q, layout);
  const int64_t h = layout.heads;
  const bool common_keys = k.dim(1) != q.dim(1);     // version 2: h key heads
  std::vector<Tensor> sentences{slice(v, 0, 0, 0)};  // no rows, for a batch of no sentences
  for (size_t b = 0; b < layout.queries.size(); ++b) {
    Tensor Q = split_heads(q, layout.queries[b], 2 * h), K = split_heads(k, layout.keys[b], common_keys ? h : 2 * h);
    Tensor V = split_heads(v, layout.keys[b], h);
    Tensor A1 = attention_map(every_second(Q, 0), common_keys ? K : every_second(K, 0), layout.causal);
    Tensor A2 = attention_map(every_second(Q, 1), common_keys ? K : every_second(K, 1), layout.causal);
    Tensor L = lambda.numel() == 1 ? lambda : split_heads(lambda, layout.queries[b], h);  // () or (h, T, 1)
    sentences.push_back(merge_heads(matmul(A1 - L * A2, V)));
  }
  return concat(sentences, 0);
}

Spans packed_spans(const std::vector<int64_t>& lengths) {
  Spans spans;
  int64_t begin = 0;
  for (int64_t length : lengths) {
    spans.push_back({begin, length});
    begin += length;
  }
  return spans;
}

}  // namespace difftensor::inline DT_PRECISION
