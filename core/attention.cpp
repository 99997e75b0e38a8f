// Fused attention: a strip of queries at a time against all their keys, so that no T x S map is ever stored. Memory
// grows with T + S; the backward pass computes each strip of the maps again.
#include <cmath>

#include "core/kernels/gemm.h"
#include "core/kernels/softmax.h"
#include "core/ops.h"

namespace difftensor::inline DT_PRECISION {
namespace {

// The shapes of one call. Softmax attention has one map for each output head, differential attention two.
struct Heads {
  const char* op;
  AttentionLayout layout;
  int maps;               // 1 or 2
  bool shared_keys;       // both maps of a pair use one key head
  bool lambda_rows;       // a lambda for each token and head, not one for all
  int64_t d, e;           // widths of a query or key head, and of a value head
  int64_t ldq, ldk, ldv;  // row widths of q, k, v; the result's is ldv
  int64_t rows;           // of q

  Heads(const char* op, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor* lambda,
        const AttentionLayout& l)
      : op(op), layout(l), maps(lambda ? 2 : 1) {
    const int64_t h = l.heads;
    require(q.rank() == 2 && k.rank() == 2 && v.rank() == 2 && k.shape()[0] == v.shape()[0], op, "q ", q.shape(),
            ", k ", k.shape(), ", v ", v.shape(), " must be matrices, k and v of one length");
    require(h > 0 && q.shape()[1] % (h * maps) == 0 && v.shape()[1] % h == 0, op, "q ", q.shape(), " and v ", v.shape(),
            " do not split into ", h, " heads", maps == 2 ? " of two maps each" : "");
    ldq = q.shape()[1], ldk = k.shape()[1], ldv = v.shape()[1], rows = q.shape()[0];
    d = ldq / (h * maps), e = ldv / h;
    shared_keys = maps == 2 && ldk == h * d;
    require(ldk == ldq || shared_keys, op, "q ", q.shape(), " and k ", k.shape(), " have heads of different widths");
    lambda_rows = lambda && lambda->numel() != 1;
    require(!lambda_rows || lambda->shape() == Shape{rows, h}, op, "lambda ", lambda_rows ? lambda->shape() : Shape{},
            " is neither one number nor (tokens, heads) = ", Shape{rows, h});
    require(l.queries.size() == l.keys.size(), op, l.queries.size(), " query spans for ", l.keys.size(), " key spans");
    auto inside = [op](const Spans& spans, int64_t n, const char* what) {
      for (const Span& s : spans)
        require(s.begin >= 0 && s.length >= 0 && s.begin + s.length <= n, op, what, " span of ", s.length, " rows at ",
                s.begin, " leaves the ", n, " rows there are");
    };
    inside(l.queries, rows, "query");
    inside(l.keys, k.shape()[0], "key");
  }

  // Do the sentences lie end to end and fill q?
  bool covers_queries() const {
    int64_t end = 0;
    for (const Span& span : layout.queries) {
      if (span.begin != end) return false;
      end += span.length;
    }
    return end == rows;
  }
  int64_t q_column(int64_t head, int map) const { return (head * maps + map) * d; }
  int64_t k_column(int64_t head, int map) const { return (shared_keys ? head : head * maps + map) * d; }

  // A strip of queries: its rows of q, its sentence's keys, and how many of them its rows see.
  struct Strip {
    int64_t head, query, rows, key, offset, S;
    bool causal;
    int64_t sees(int64_t row) const { return causal ? std::clamp<int64_t>(row + offset + 1, 0, S) : S; }
    int64_t width() const { return sees(rows - 1); }
    // Rows of a map lie this far apart: whole SIMD registers, so that a sentence of 14 words costs one step, not 14.
    int64_t stride() const { return (width() + lanes - 1) / lanes * lanes; }
    static constexpr int64_t lanes = 64 / sizeof(Scalar);
  };
  // Calls f(strip) for all strips of all sentences and heads. Those of one sentence and head run one after the other,
  // so that they may add to the same rows of dk and dv.
  template <class F>
  void each_strip(F f) const {
    const int64_t h = layout.heads, sentences = static_cast<int64_t>(layout.queries.size());
    parallel_for(sentences * h, 4, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const Span query = layout.queries[task / h], key = layout.keys[task / h];
        for (int64_t t = 0, height = strip_rows(key.length); t < query.length; t += height)
          f(Strip{task % h, query.begin + t, std::min(height, query.length - t), key.begin,
                  t + key.length - query.length, key.length, layout.causal});
      }
    });
  }
  // Rows of a strip: its maps should stay in the second-level cache.
  static int64_t strip_rows(int64_t S) { return std::clamp<int64_t>(65536 / std::max<int64_t>(1, S), 32, 128); }
};

using Strip = Heads::Strip;

// Scratch of one thread, grown when needed and kept: attention calls it for every strip.
Scalar* scratch(int slot, int64_t count) {
  thread_local Storage buffers[3];
  if (buffers[slot].size() < count) buffers[slot] = Storage(count);
  return buffers[slot].data();
}

// A = softmax(Q K^T / sqrt(d)) for one strip and map, zero where a query must not see, and in the padding:
// (strip.rows, strip.stride()).
void attention_map(const Heads& a, const Strip& s, int map, const Scalar* q, const Scalar* k, Scalar* A) {
  const int64_t width = s.width(), stride = s.stride();
  kernels::gemm(false, true, s.rows, width, a.d, 1 / std::sqrt(static_cast<Scalar>(a.d)),
                q + s.query * a.ldq + a.q_column(s.head, map), a.ldq, k + s.key * a.ldk + a.k_column(s.head, map),
                a.ldk, 0, A, stride);
  for (int64_t i = 0; i < s.rows; ++i) {
    std::fill(A + i * stride + s.sees(i), A + (i + 1) * stride, -std::numeric_limits<Scalar>::infinity());
    kernels::softmax_row(A + i * stride, A + i * stride, stride);
  }
}

Tensor fused(const Heads& a, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& lambda) {
  Tensor out = a.covers_queries() ? Tensor({a.rows, a.ldv}) : zeros({a.rows, a.ldv});
  // lambda of row i of a strip
  auto lambda_at = [](const Heads& a, const Strip& s, const Scalar* lambda, int64_t i) {
    return a.lambda_rows ? lambda[(s.query + i) * a.layout.heads + s.head] : lambda[0];
  };
  a.each_strip([&, q = q.data(), k = k.data(), v = v.data(), y = out.data()](const Strip& s) {
    const int64_t width = s.width(), stride = s.stride();
    Scalar* A = scratch(0, s.rows * stride);
    attention_map(a, s, 0, q, k, A);
    if (a.maps == 2) {
      Scalar* A2 = scratch(1, s.rows * stride);
      attention_map(a, s, 1, q, k, A2);
      for (int64_t i = 0; i < s.rows; ++i) {
        const Scalar l = lambda_at(a, s, lambda.data(), i);
#pragma omp simd
        for (int64_t j = i * stride; j < (i + 1) * stride; ++j) A[j] -= l * A2[j];
      }
    }
    kernels::gemm(false, false, s.rows, a.e, width, 1, A, stride, v + s.key * a.ldv + s.head * a.e, a.ldv, 0,
                  y + s.query * a.ldv + s.head * a.e, a.ldv);
  });

  if (grad_enabled() && (k.needs_grad() || v.needs_grad())) {
    Spans keys = a.layout.keys;
    std::sort(keys.begin(), keys.end(), [](const Span& x, const Span& y) { return x.begin < y.begin; });
    for (size_t i = 1; i < keys.size(); ++i)
      require(keys[i - 1].begin + keys[i - 1].length <= keys[i].begin, a.op,
              "sentences that share keys have no gradient; use NoGrad");
  }

  // out = A V with A = A1 - lambda A2 gives
  //   dV += A^T dout,  dA = dout V^T,  dA1 = dA,  dA2 = -lambda dA,  dlambda = -sum_j dA_j A2_j  (by row, or of all)
  // and each map, being softmax(Z) with Z = Q K^T / sqrt(d),
  //   dZ_ij = A_ij (dA_ij - sum_j dA_ij A_ij),  dQ += dZ K / sqrt(d),  dK += dZ^T Q / sqrt(d).
  auto backward = [a, q = q.storage(), k = k.storage(), v = v.storage(),
                   lambda = lambda.defined() ? lambda.storage() : Storage(), lambda_at](const Gradients& g) {
    Scalar* dq = g.wants(0) ? g.in(0) : nullptr;
    Scalar* dk = g.wants(1) ? g.in(1) : nullptr;
    Scalar* dv = g.wants(2) ? g.in(2) : nullptr;
    const int64_t h = a.layout.heads;
    Storage dlambda(g.wants(3) ? a.rows * h : 0);
    std::fill_n(dlambda.data(), dlambda.size(), Scalar{0});
    a.each_strip([&](const Strip& s) {
      const int64_t width = s.width(), stride = s.stride(), size = s.rows * stride;
      Scalar *A1 = scratch(0, size), *A2 = scratch(1, size), *dA = scratch(2, size);
      const Scalar* dout = g.out + s.query * a.ldv + s.head * a.e;
      kernels::gemm(false, true, s.rows, width, a.e, 1, dout, a.ldv, v.data() + s.key * a.ldv + s.head * a.e, a.ldv, 0,
                    dA, stride);
      for (int64_t i = 0; i < s.rows; ++i) std::fill(dA + i * stride + width, dA + (i + 1) * stride, Scalar{0});
      for (int map = 0; map < a.maps; ++map) attention_map(a, s, map, q.data(), k.data(), map == 0 ? A1 : A2);

      // One pass turns A1, A2, dA into dZ1, dZ2, A.
      for (int64_t i = 0; i < s.rows; ++i) {
        Scalar *a1 = A1 + i * stride, *a2 = A2 + i * stride, *da = dA + i * stride, dot1 = 0, dot2 = 0;
#pragma omp simd reduction(+ : dot1)
        for (int64_t j = 0; j < stride; ++j) dot1 += da[j] * a1[j];
        if (a.maps == 1) {
#pragma omp simd
          for (int64_t j = 0; j < stride; ++j) {
            const Scalar d = da[j];
            da[j] = a1[j];
            a1[j] *= d - dot1;
          }
          continue;
        }
#pragma omp simd reduction(+ : dot2)
        for (int64_t j = 0; j < stride; ++j) dot2 += da[j] * a2[j];
        if (dlambda) dlambda.data()[(s.query + i) * h + s.head] = -dot2;
        const Scalar l = lambda_at(a, s, lambda.data(), i);
#pragma omp simd
        for (int64_t j = 0; j < stride; ++j) {
          const Scalar d = da[j];
          da[j] = a1[j] - l * a2[j];
          a1[j] *= d - dot1;
          a2[j] *= -l * (d - dot2);
        }
      }
      if (dv)
        kernels::gemm(true, false, width, a.e, s.rows, 1, dA, stride, dout, a.ldv, 1, dv + s.key * a.ldv + s.head * a.e,
                      a.ldv);
      const Scalar scale = 1 / std::sqrt(static_cast<Scalar>(a.d));
      for (int map = 0; map < a.maps; ++map) {
        const Scalar* dZ = map == 0 ? A1 : A2;
        const int64_t at_q = s.query * a.ldq + a.q_column(s.head, map);
        const int64_t at_k = s.key * a.ldk + a.k_column(s.head, map);
        if (dq)
          kernels::gemm(false, false, s.rows, a.d, width, scale, dZ, stride, k.data() + at_k, a.ldk, 1, dq + at_q,
                        a.ldq);
        if (dk)
          kernels::gemm(true, false, width, a.d, s.rows, scale, dZ, stride, q.data() + at_q, a.ldq, 1, dk + at_k,
                        a.ldk);
      }
    });
    if (g.wants(3) && a.lambda_rows) g.add(3, [d = dlambda.data()](int64_t i) { return d[i]; });
    if (g.wants(3) && !a.lambda_rows) {
      double total = 0;
      for (int64_t i = 0; i < dlambda.size(); ++i) total += dlambda.data()[i];
      *g.in(3) += static_cast<Scalar>(total);
    }
  };
  return record(a.op, out, {q, k, v, lambda}, std::move(backward));
}

}  // namespace

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionLayout& layout) {
  return fused(Heads("attention", q, k, v, nullptr, layout), q, k, v, {});
}

Tensor diff_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& lambda,
                      const AttentionLayout& layout) {
  return fused(Heads("diff_attention", q, k, v, &lambda, layout), q, k, v, lambda);
}

}  // namespace difftensor::inline DT_PRECISION
