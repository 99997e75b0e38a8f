// Fused attention: a strip of queries at a time against all their keys, so that no T x S map is ever stored. Memory
// grows with T + S; the backward pass computes each strip of the maps again.
#include <cmath>

#include "core/kernels/gemm.h"
#include "core/kernels/packed_weights.h"
#include "core/kernels/simd.h"
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
    check(l.queries, rows, "query");
    check(l.keys, k.shape()[0], "key");
    require(apart(l.queries), op, "query spans overlap: a row of the result would have two values");
  }

  void check(const Spans& spans, int64_t n, const char* what) const {
    for (const Span& s : spans)
      require(s.begin >= 0 && s.length >= 0 && s.begin <= n && s.length <= n - s.begin, op, what, " span of ", s.length,
              " rows at ", s.begin, " leaves the ", n, " rows there are");
  }
  static bool apart(Spans spans) {
    std::sort(spans.begin(), spans.end(), [](const Span& x, const Span& y) { return x.begin < y.begin; });
    for (size_t i = 1; i < spans.size(); ++i)
      if (spans[i - 1].begin + spans[i - 1].length > spans[i].begin) return false;
    return true;
  }
  // Do the sentences lie end to end and fill all n rows?
  static bool fill(const Spans& spans, int64_t n) {
    int64_t end = 0;
    for (const Span& span : spans) {
      if (span.begin != end) return false;
      end += span.length;
    }
    return end == n;
  }
  int64_t q_column(int64_t head, int map) const { return (head * maps + map) * d; }
  int64_t k_column(int64_t head, int map) const { return (shared_keys ? head : head * maps + map) * d; }

  int64_t key_maps() const { return shared_keys ? 1 : maps; }  // keys of one output head

  // A strip of one head's queries: its rows of q, where they stand among the S keys, and how many its rows see.
  struct Strip {
    int64_t query, rows, offset, S;
    int64_t room;  // numbers in the largest map of the sentence's strips
    bool causal;
    int64_t sees(int64_t row) const { return causal ? std::clamp<int64_t>(row + offset + 1, 0, S) : S; }
    int64_t width() const { return sees(rows - 1); }
    // Rows of a map lie this far apart: whole SIMD registers, so that a sentence of 14 words costs one step, not 14.
    int64_t stride() const { return kernels::whole_registers(width()); }
  };
  // Calls task(sentence's query span, key span, head) for all, in parallel.
  template <class F>
  void each_head(F task) const {
    const int64_t h = layout.heads, sentences = static_cast<int64_t>(layout.queries.size());
    parallel_for(sentences * h, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) task(layout.queries[i / h], layout.keys[i / h], i % h);
    });
  }
  // Calls f(strip) for a sentence's strips of queries, one after the other. Their maps should stay in the second-level
  // cache.
  template <class F>
  void each_strip(Span query, Span key, F f) const {
    const int64_t height = std::clamp<int64_t>(131072 / std::max<int64_t>(1, key.length), 32, 128);
    for (int64_t t = 0; t < query.length; t += height)
      f(Strip{query.begin + t, std::min(height, query.length - t), t + key.length - query.length, key.length,
              std::min(height, query.length) * kernels::whole_registers(key.length), layout.causal});
  }
};

using Strip = Heads::Strip;
using kernels::ExpRow, kernels::PackedMatrix;

// What a thread works with, kept from call to call: the keys and values of one head in the order in which products read
// them (S x (2 d + e) numbers, and as many again in backward), and the maps of one strip of queries.
struct Workspace {
  PackedMatrix k_transposed[2], k[2], v, v_transposed;
  Storage maps[3];
  Scalar* map(int i, const Strip& s) {
    if (maps[i].size() < s.room) maps[i] = Storage(s.room);
    return maps[i].data();
  }
};
Workspace& workspace() {
  thread_local Workspace w;
  return w;
}

// Z = Q K^T for one strip, (rows, stride), with -inf where a query must not see and in the padding.
void scores(const Heads& a, const Strip& s, const Scalar* q, const PackedMatrix& k_transposed, Scalar* Z) {
  const int64_t stride = s.stride();
  k_transposed.multiply(s.rows, a.d, stride, q, a.ldq, false, Z, stride);
  for (int64_t i = 0; i < s.rows; ++i)
    std::fill(Z + i * stride + s.sees(i), Z + (i + 1) * stride, -std::numeric_limits<Scalar>::infinity());
}

// The same for a strip of one query, with keys as they lie.
void single_scores(const Heads& a, const Strip& s, const Scalar* q, const Scalar* k, Scalar* Z) {
  for (int64_t j = 0; j < s.width(); ++j, k += a.ldk) {
    Scalar dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t c = 0; c < a.d; ++c) dot += q[c] * k[c];
    Z[j] = dot;
  }
  std::fill(Z + s.width(), Z + s.stride(), -std::numeric_limits<Scalar>::infinity());
}

Tensor fused(const Heads& a, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& lambda) {
  Tensor out = Heads::fill(a.layout.queries, a.rows) ? Tensor({a.rows, a.ldv}) : zeros({a.rows, a.ldv});
  const Scalar scale = 1 / std::sqrt(static_cast<Scalar>(a.d));
  // lambda of a row of q
  auto lambda_at = [h = a.layout.heads, rows = a.lambda_rows](const Scalar* lambda, int64_t row, int64_t head) {
    return rows ? lambda[row * h + head] : lambda[0];
  };
  a.each_head([&, q = q.data(), k = k.data(), v = v.data(), y = out.data()](Span query, Span key, int64_t head) {
    Workspace& w = workspace();
    // In decoding a sentence has one query: packing its keys and values would take longer than using them.
    const bool single = query.length == 1;
    const Scalar* values = v + key.begin * a.ldv + head * a.e;
    for (int m = 0; !single && m < a.key_maps(); ++m)
      w.k_transposed[m].pack(true, a.d, key.length, k + key.begin * a.ldk + a.k_column(head, m), a.ldk);
    if (!single) w.v.pack(false, key.length, a.e, values, a.ldv);
    a.each_strip(query, key, [&](const Strip& s) {
      const int64_t stride = s.stride();
      Scalar *A1 = w.map(0, s), *A2 = a.maps == 2 ? w.map(1, s) : nullptr;
      for (int m = 0; m < a.maps; ++m) {
        const Scalar* query_m = q + s.query * a.ldq + a.q_column(head, m);
        if (single)
          single_scores(a, s, query_m, k + key.begin * a.ldk + a.k_column(head, m), m ? A2 : A1);
        else
          scores(a, s, query_m, w.k_transposed[a.shared_keys ? 0 : m], m ? A2 : A1);
      }
      for (int64_t i = 0; i < s.rows; ++i) {
        Scalar* a1 = A1 + i * stride;
        const Scalar norm1 = kernels::exp_row(a1, a1, stride, scale).norm();
        if (!A2) {
#pragma omp simd
          for (int64_t j = 0; j < stride; ++j) a1[j] *= norm1;
          continue;
        }
        Scalar* a2 = A2 + i * stride;
        const Scalar norm2 =
            kernels::exp_row(a2, a2, stride, scale).norm() * lambda_at(lambda.data(), s.query + i, head);
#pragma omp simd
        for (int64_t j = 0; j < stride; ++j) a1[j] = norm1 * a1[j] - norm2 * a2[j];
      }
      Scalar* out = y + s.query * a.ldv + head * a.e;
      if (single)
        kernels::gemm(false, false, 1, a.e, s.width(), A1, stride, values, a.ldv, 0, out, a.ldv);
      else
        w.v.multiply(s.rows, s.width(), a.e, A1, stride, false, out, a.ldv);
    });
  });

  require(!grad_enabled() || !(k.needs_grad() || v.needs_grad()) || Heads::apart(a.layout.keys), a.op,
          "sentences that share keys have no gradient; use NoGrad");

  // out = A V with A = A1 - lambda A2 gives
  //   dV += A^T dout,  dA = dout V^T,  dA1 = dA,  dA2 = -lambda dA,  dlambda = -sum_j dA_j A2_j  (by row, or of all)
  // and each map, being softmax(Z) with Z = Q K^T / sqrt(d),
  //   dZ_ij = A_ij (dA_ij - sum_j dA_ij A_ij),  dQ += dZ K / sqrt(d),  dK += dZ^T Q / sqrt(d).
  auto backward = [a, q = q.storage(), k = k.storage(), v = v.storage(), scale, lambda_at,
                   lambda = lambda.defined() ? lambda.storage() : Storage()](const Gradients& g) {
    const int64_t h = a.layout.heads;
    // dQ, dK and dV. One that is new is not filled with zeros first, if sentences fill it: they write it themselves.
    Scalar* d[3] = {};
    bool fresh[3] = {};
    for (int i = 0; i < 3; ++i) {
      if (!g.wants(i)) continue;
      const bool filled = i == 0 ? Heads::fill(a.layout.queries, a.rows)
                                 : Heads::fill(a.layout.keys, (i == 1 ? k.size() / a.ldk : v.size() / a.ldv));
      const bool apart = q.data() != k.data() && k.data() != v.data() && q.data() != v.data();
      const GradientBuffer grad = filled && apart ? g.raw_buffer(i) : GradientBuffer{g.buffer(i), false};
      d[i] = grad.data, fresh[i] = grad.is_new;
    }
    Storage dlambda;
    if (g.wants(3)) {
      dlambda = Storage(a.rows * h);
      std::fill_n(dlambda.data(), dlambda.size(), Scalar{0});
    }
    a.each_head([&](Span query, Span key, int64_t head) {
      Workspace& w = workspace();
      const int64_t at_v = key.begin * a.ldv + head * a.e;
      auto at_k = [&](int m) { return key.begin * a.ldk + a.k_column(head, m); };
      for (int m = 0; m < a.key_maps(); ++m) {
        w.k_transposed[m].pack(true, a.d, key.length, k.data() + at_k(m), a.ldk);
        w.k[m].pack(false, key.length, a.d, k.data() + at_k(m), a.ldk);
        for (int64_t j = 0; fresh[1] && j < key.length; ++j) std::fill_n(d[1] + at_k(m) + j * a.ldk, a.d, Scalar{0});
      }
      w.v_transposed.pack(true, a.e, key.length, v.data() + at_v, a.ldv);
      for (int64_t j = 0; fresh[2] && j < key.length; ++j) std::fill_n(d[2] + at_v + j * a.ldv, a.e, Scalar{0});

      a.each_strip(query, key, [&](const Strip& s) {
        const int64_t width = s.width(), stride = s.stride();
        Scalar *A1 = w.map(0, s), *A2 = a.maps == 2 ? w.map(1, s) : nullptr, *dA = w.map(2, s);
        const Scalar* dout = g.out + s.query * a.ldv + head * a.e;
        w.v_transposed.multiply(s.rows, a.e, stride, dout, a.ldv, false, dA, stride);
        for (int m = 0; m < a.maps; ++m)
          scores(a, s, q.data() + s.query * a.ldq + a.q_column(head, m), w.k_transposed[a.shared_keys ? 0 : m],
                 m ? A2 : A1);
        // Turns Z1, Z2, dA into dZ1, dZ2, A.
        for (int64_t i = 0; i < s.rows; ++i) {
          Scalar *a1 = A1 + i * stride, *da = dA + i * stride, dot1 = 0, dot2 = 0;
          const Scalar norm1 = kernels::exp_row(a1, a1, stride, scale).norm();
#pragma omp simd reduction(+ : dot1)
          for (int64_t j = 0; j < stride; ++j) dot1 += da[j] * a1[j];
          dot1 *= norm1;
          if (!A2) {
#pragma omp simd
            for (int64_t j = 0; j < stride; ++j) {
              const Scalar dA = da[j], A = a1[j] * norm1;
              da[j] = A;
              a1[j] = scale * A * (dA - dot1);
            }
            continue;
          }
          Scalar* a2 = A2 + i * stride;
          const Scalar norm2 = kernels::exp_row(a2, a2, stride, scale).norm();
#pragma omp simd reduction(+ : dot2)
          for (int64_t j = 0; j < stride; ++j) dot2 += da[j] * a2[j];
          dot2 *= norm2;
          if (dlambda) dlambda.data()[(s.query + i) * h + head] = -dot2;
          const Scalar l = lambda_at(lambda.data(), s.query + i, head);
#pragma omp simd
          for (int64_t j = 0; j < stride; ++j) {
            const Scalar dA = da[j], first = a1[j] * norm1, second = l * norm2 * a2[j];
            da[j] = first - second;
            a1[j] = scale * first * (dA - dot1);
            a2[j] = -scale * second * (dA - dot2);
          }
        }
        if (d[2]) kernels::gemm(true, false, width, a.e, s.rows, dA, stride, dout, a.ldv, 1, d[2] + at_v, a.ldv);
        for (int m = 0; m < a.maps; ++m) {
          const Scalar* dZ = m ? A2 : A1;
          const int64_t at_q = s.query * a.ldq + a.q_column(head, m);
          if (d[0]) w.k[a.shared_keys ? 0 : m].multiply(s.rows, width, a.d, dZ, stride, !fresh[0], d[0] + at_q, a.ldq);
          if (d[1])
            kernels::gemm(true, false, width, a.d, s.rows, dZ, stride, q.data() + at_q, a.ldq, 1, d[1] + at_k(m),
                          a.ldk);
        }
      });
    });
    if (g.wants(3) && a.lambda_rows) g.add(3, [d = dlambda.data()](int64_t i) { return d[i]; });
    if (g.wants(3) && !a.lambda_rows) {
      double total = 0;
      for (int64_t i = 0; i < dlambda.size(); ++i) total += dlambda.data()[i];
      *g.buffer(3) += static_cast<Scalar>(total);
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
