// Fused attention: the maps of core/ops/plain_attention.cpp, a strip of queries at a time against all their keys, so
// that no whole T x S map is ever stored. Memory grows with T + S; the backward pass computes each strip again.
//
// A strip's maps are worked on in place. The names follow what the numbers mean:
//   forward   Z  ->  exp  ->  A             Z = Q K^T, the scores; A = softmax(Z / sqrt(d)), the map
//   backward  Z  ->  exp  ->  dZ            and dA -> A, which dV needs
// Shapes, and how work is cut into strips: core/ops/attention_shapes.h.
#include <cmath>
#include <limits>

#include "core/kernels/gemm.h"
#include "core/kernels/multiply_add.h"
#include "core/kernels/packed_weights.h"
#include "core/kernels/softmax.h"
#include "core/ops/attention_shapes.h"
#include "core/ops/single_query.h"

namespace difftensor::inline DT_PRECISION {
namespace {

// --- What a thread works with -------------------------------------------------------------------------------------

using kernels::PackedMatrix;

// Kept from call to call: the keys and values of one head in the order in which products read them (S x (2 d + e)
// numbers, and as many again in backward), and the maps of one strip.
class Workspace {
 public:
  PackedMatrix k_transposed[2], k[2];  // one for each key head of an output head
  PackedMatrix v, v_transposed;

  // Room for the strip's map 0 or 1, and for the gradient of the head's map; what is in it is left from before.
  Scalar* map(int i, const Strip& strip) { return room(maps_[i], strip); }
  Scalar* map_gradient(const Strip& strip) { return room(map_gradient_, strip); }

 private:
  static Scalar* room(Storage& buffer, const Strip& strip) {
    if (buffer.size() < strip.map_size) buffer = Storage(strip.map_size);
    return buffer.data();
  }
  Storage maps_[2], map_gradient_;
};
Workspace& workspace() {
  thread_local Workspace w;
  return w;
}

// A head's keys or values X (S, width), for products A X. One short strip of queries reads them where they lie; several
// share a copy.
void take_rows(PackedMatrix& rows, int64_t queries, int64_t S, int64_t width, const Scalar* X, int64_t ld) {
  queries <= 32 ? rows.refer(S, width, X, ld) : rows.pack(false, S, width, X, ld);
}

// lambda of each token and head, or one number for all of them.
struct Lambdas {
  const Scalar* values;
  int64_t heads;
  bool per_token;
  Scalar at(int64_t row, int64_t head) const { return per_token ? values[row * heads + head] : values[0]; }
};

// --- Scores of one strip ------------------------------------------------------------------------------------------

Scalar dot(const Scalar* x, const Scalar* y, int64_t n) {
  Scalar sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum = kernels::multiply_add(x[i], y[i], sum);
  return sum;
}

// Z = Q K^T, (rows, stride), with -inf where a query must not see and to the right of the last key.
void scores(const AttentionShapes& shapes, const Strip& strip, const Scalar* q, const PackedMatrix& k_transposed,
            Scalar* Z) {
  const int64_t stride = strip.stride();
  k_transposed.multiply(strip.rows, shapes.d, stride, q, shapes.q_width, false, Z, stride);
  for (int64_t i = 0; i < strip.rows; ++i)
    std::fill(Z + i * stride + strip.sees(i), Z + (i + 1) * stride, -std::numeric_limits<Scalar>::infinity());
}

// --- From scores to the map, and back ------------------------------------------------------------------------------
// `scale` is 1 / sqrt(d). exp_row() leaves exp(scale (z - max z)) in z's place; times `norm`, 1 over their sum, that is
// the softmax. The maximum comes off before the scale: a large offset of all scores costs no digits. A map is right to
// a few units in the last place, a difference to those of its larger map; sum_j dA_ij A_ij, in SIMD lanes of Scalars,
// to S / 16 + 8 roundings of its largest term. A query that sees no key has norm 0, so its row of the map, and of every
// gradient, is 0.

// A = softmax(scale Z), in Z's place; returns it.
Scalar* softmax_strip(const Strip& strip, Scalar scale, Scalar* Z) {
  const int64_t stride = strip.stride();
  for (int64_t i = 0; i < strip.rows; ++i) {
    Scalar* z = Z + i * stride;
    const Scalar norm = kernels::exp_row(z, z, stride, scale).norm();
    Scalar *exp_z = z, *a = z;
#pragma omp simd
    for (int64_t j = 0; j < stride; ++j) a[j] = exp_z[j] * norm;
  }
  return Z;
}

// dZ_ij = scale A_ij (dA_ij - sum_j dA_ij A_ij), in Z's place. A is computed again, and left in dA's place.
void softmax_strip_backward(const Strip& strip, Scalar scale, Scalar* Z, Scalar* dA) {
  const int64_t stride = strip.stride();
  for (int64_t i = 0; i < strip.rows; ++i) {
    Scalar *z = Z + i * stride, *da = dA + i * stride;
    const Scalar norm = kernels::exp_row(z, z, stride, scale).norm();
    Scalar *exp_z = z, *dz = z, *a = da;
    const Scalar da_a = dot(da, exp_z, stride) * norm;  // sum_j dA_ij A_ij
#pragma omp simd
    for (int64_t j = 0; j < stride; ++j) {
      const Scalar da_j = da[j], a_j = exp_z[j] * norm;
      a[j] = a_j;
      dz[j] = scale * a_j * (da_j - da_a);
    }
  }
}

// A = A1 - lambda A2 with A1 = softmax(scale Z1), A2 = softmax(scale Z2), in Z1's place; returns it.
Scalar* difference_strip(const Strip& strip, Scalar scale, Scalar* Z1, Scalar* Z2, const Lambdas& lambda,
                         int64_t head) {
  const int64_t stride = strip.stride();
  for (int64_t i = 0; i < strip.rows; ++i) {
    Scalar *z1 = Z1 + i * stride, *z2 = Z2 + i * stride;
    const Scalar norm1 = kernels::exp_row(z1, z1, stride, scale).norm();
    const Scalar lambda_norm2 = kernels::exp_row(z2, z2, stride, scale).norm() * lambda.at(strip.query + i, head);
    Scalar *exp_z1 = z1, *exp_z2 = z2, *a = z1;
#pragma omp simd
    for (int64_t j = 0; j < stride; ++j) a[j] = norm1 * exp_z1[j] - lambda_norm2 * exp_z2[j];
  }
  return Z1;
}

// With dA1 = dA and dA2 = -lambda dA, each map's softmax goes back as above:
//   dZ1_ij = scale A1_ij (dA_ij - sum_j dA_ij A1_ij),  dZ2_ij = -scale lambda A2_ij (dA_ij - sum_j dA_ij A2_ij)
// in Z1's and Z2's places, and A in dA's. dlambda_i = -sum_j dA_ij A2_ij goes to dlambda (N, heads), unless that is
// null.
void difference_strip_backward(const Strip& strip, Scalar scale, Scalar* Z1, Scalar* Z2, Scalar* dA,
                               const Lambdas& lambda, int64_t head, Scalar* dlambda) {
  const int64_t stride = strip.stride();
  for (int64_t i = 0; i < strip.rows; ++i) {
    Scalar *z1 = Z1 + i * stride, *z2 = Z2 + i * stride, *da = dA + i * stride;
    const Scalar norm1 = kernels::exp_row(z1, z1, stride, scale).norm();
    const Scalar norm2 = kernels::exp_row(z2, z2, stride, scale).norm();
    Scalar *exp_z1 = z1, *exp_z2 = z2, *dz1 = z1, *dz2 = z2, *a = da;
    const Scalar da_a1 = dot(da, exp_z1, stride) * norm1;  // sum_j dA_ij A1_ij
    const Scalar da_a2 = dot(da, exp_z2, stride) * norm2;  // sum_j dA_ij A2_ij
    if (dlambda) dlambda[(strip.query + i) * lambda.heads + head] = -da_a2;
    const Scalar l = lambda.at(strip.query + i, head);
#pragma omp simd
    for (int64_t j = 0; j < stride; ++j) {
      const Scalar da_j = da[j], a1_j = exp_z1[j] * norm1, l_a2_j = l * norm2 * exp_z2[j];
      a[j] = a1_j - l_a2_j;
      dz1[j] = scale * a1_j * (da_j - da_a1);
      dz2[j] = -scale * l_a2_j * (da_j - da_a2);
    }
  }
}

// --- The op -------------------------------------------------------------------------------------------------------

// Where the gradient of input i is added up; data is null if nobody asked for it. One that is new need not be filled
// with zeros first if the sentences cover every row: they write to it before they add.
GradientBuffer gradient_buffer(const Gradients& g, int i, bool covered) {
  if (!g.wants(i)) return {nullptr, false};
  return covered ? g.raw_buffer(i) : GradientBuffer{g.buffer(i), false};
}

// Zeroes the features of one head, `width` in each of `rows` rows that are `row_width` apart.
void zero_head(Scalar* first, int64_t rows, int64_t width, int64_t row_width) {
  for (int64_t j = 0; j < rows; ++j) std::fill_n(first + j * row_width, width, Scalar{0});
}

Tensor fused_attention(const AttentionShapes& shapes, const Tensor& q, const Tensor& k, const Tensor& v,
                       const Tensor& lambda) {
  const int64_t N = shapes.N, d = shapes.d, e = shapes.e, h = shapes.layout.heads;
  const int64_t k_width = shapes.k_width, v_width = shapes.v_width;
  const Scalar scale = 1 / std::sqrt(static_cast<Scalar>(d));
  Tensor out = cover_every_row(shapes.layout.queries, N) ? Tensor({N, v_width}) : zeros({N, v_width});

  shapes.for_each_head(
      [&, q = q.data(), k = k.data(), v = v.data(), y = out.data()](Span query, Span key, int64_t head) {
        Workspace& w = workspace();
        const Lambdas lambdas{lambda.defined() ? lambda.data() : nullptr, h, shapes.lambda_per_token};
        const bool single = query.length == 1;  // core/ops/single_query.h
        const int32_t* listed = shapes.layout.key_rows.empty() ? nullptr : shapes.layout.key_rows.data();
        if (!single) {
          for (int m = 0; m < shapes.key_heads(); ++m)
            w.k_transposed[m].pack(true, d, key.length, k + shapes.k_at(key.begin, head, m), k_width);
          take_rows(w.v, query.length, key.length, e, v + shapes.v_at(key.begin, head), v_width);
        }
        shapes.for_each_strip(query, key, [&](const Strip& strip) {
          // Z = Q K^T, for each map
          for (int m = 0; m < shapes.maps; ++m) {
            const Scalar* Q = q + shapes.q_at(strip.query, head, m);
            if (single)
              single_scores(Q, {k + shapes.k_at(0, head, m), k_width, key.begin, listed}, strip.width(), d,
                            w.map(m, strip));
            else
              scores(shapes, strip, Q, w.k_transposed[shapes.key_head(m)], w.map(m, strip));
          }
          // A = softmax(Z / sqrt(d)), or the difference of two
          const Scalar* A = shapes.maps == 1
                                ? softmax_strip(strip, scale, w.map(0, strip))
                                : difference_strip(strip, scale, w.map(0, strip), w.map(1, strip), lambdas, head);
          // out = A V
          Scalar* rows = y + shapes.v_at(strip.query, head);
          if (single)
            single_output(A, {v + shapes.v_at(0, head), v_width, key.begin, listed}, strip.width(), e, rows);
          else
            w.v.multiply(strip.rows, strip.width(), e, A, strip.stride(), false, rows, v_width);
        });
      });

  require(!grad_enabled() || !(k.needs_grad() || v.needs_grad()) || are_disjoint(shapes.layout.keys), shapes.op,
          "sentences that share keys have no gradient; use NoGrad");

  // out = A V with A = A1 - lambda A2 gives
  //   dV += A^T dout,  dA = dout V^T,  dA1 = dA,  dA2 = -lambda dA,  dlambda = -sum_j dA_j A2_j  (by row, or of all)
  // and each map, being softmax(Z / sqrt(d)) with Z = Q K^T,
  //   dZ_ij = A_ij (dA_ij - sum_j dA_ij A_ij) / sqrt(d),  dQ += dZ K,  dK += dZ^T Q.
  auto backward = [shapes, d, e, h, k_width, v_width, q = q.storage(), k = k.storage(), v = v.storage(), scale,
                   lambda = lambda.defined() ? lambda.storage() : Storage()](const Gradients& g) {
    const int64_t q_width = shapes.q_width;
    const Lambdas lambdas{lambda.data(), h, shapes.lambda_per_token};
    // A tensor that is two of the inputs has one gradient buffer, which the second must not take for covered.
    const bool distinct = q.data() != k.data() && k.data() != v.data() && q.data() != v.data();
    const bool keys_cover = distinct && cover_every_row(shapes.layout.keys, shapes.M);
    const GradientBuffer dq = gradient_buffer(g, 0, distinct && cover_every_row(shapes.layout.queries, shapes.N));
    const GradientBuffer dk = gradient_buffer(g, 1, keys_cover), dv = gradient_buffer(g, 2, keys_cover);
    Storage dlambda;  // (N, h), also if lambda is one number: then their sum is its gradient
    if (g.wants(3)) {
      dlambda = Storage(shapes.N * h);
      std::fill_n(dlambda.data(), dlambda.size(), Scalar{0});
    }

    shapes.for_each_head([&](Span query, Span key, int64_t head) {
      Workspace& w = workspace();
      const int64_t v_at = shapes.v_at(key.begin, head);
      for (int m = 0; m < shapes.key_heads(); ++m) {
        const int64_t k_at = shapes.k_at(key.begin, head, m);
        w.k_transposed[m].pack(true, d, key.length, k.data() + k_at, k_width);
        take_rows(w.k[m], query.length, key.length, d, k.data() + k_at, k_width);
        if (dk.is_new) zero_head(dk.data + k_at, key.length, d, k_width);
      }
      w.v_transposed.pack(true, e, key.length, v.data() + v_at, v_width);
      if (dv.is_new) zero_head(dv.data + v_at, key.length, e, v_width);

      shapes.for_each_strip(query, key, [&](const Strip& strip) {
        const int64_t width = strip.width(), stride = strip.stride();
        const Scalar* dout = g.out + shapes.v_at(strip.query, head);
        // dA = dout V^T, and Z = Q K^T again
        Scalar *dA = w.map_gradient(strip), *Z1 = w.map(0, strip), *Z2 = shapes.maps == 2 ? w.map(1, strip) : nullptr;
        w.v_transposed.multiply(strip.rows, e, stride, dout, v_width, false, dA, stride);
        for (int m = 0; m < shapes.maps; ++m)
          scores(shapes, strip, q.data() + shapes.q_at(strip.query, head, m), w.k_transposed[shapes.key_head(m)],
                 m ? Z2 : Z1);
        // dZ from dA; dlambda
        if (shapes.maps == 1)
          softmax_strip_backward(strip, scale, Z1, dA);
        else
          difference_strip_backward(strip, scale, Z1, Z2, dA, lambdas, head, dlambda.data());
        const Scalar *A = dA, *dZ[2] = {Z1, Z2};
        // dV += A^T dout
        if (dv.data)
          kernels::gemm(true, false, width, e, strip.rows, A, stride, dout, v_width, true, dv.data + v_at, v_width);
        // dQ += dZ K, dK += dZ^T Q
        for (int m = 0; m < shapes.maps; ++m) {
          const int64_t q_at = shapes.q_at(strip.query, head, m), k_at = shapes.k_at(key.begin, head, m);
          if (dq.data)
            w.k[shapes.key_head(m)].multiply(strip.rows, width, d, dZ[m], stride, !dq.is_new, dq.data + q_at, q_width);
          if (dk.data)
            kernels::gemm(true, false, width, d, strip.rows, dZ[m], stride, q.data() + q_at, q_width, true,
                          dk.data + k_at, k_width);
        }
      });
    });
    if (g.wants(3) && shapes.lambda_per_token) g.add(3, [d = dlambda.data()](int64_t i) { return d[i]; });
    if (g.wants(3) && !shapes.lambda_per_token) {
      double total = 0;
      for (int64_t i = 0; i < dlambda.size(); ++i) total += dlambda.data()[i];
      *g.buffer(3) += static_cast<Scalar>(total);
    }
  };
  return record(shapes.op, out, {q, k, v, lambda}, std::move(backward), {{q}, {k}, {v}, {lambda}});
}

}  // namespace

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionLayout& layout) {
  return fused_attention(AttentionShapes("attention", q, k, v, nullptr, layout), q, k, v, {});
}

Tensor diff_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& lambda,
                      const AttentionLayout& layout) {
  return fused_attention(AttentionShapes("diff_attention", q, k, v, &lambda, layout), q, k, v, lambda);
}

}  // namespace difftensor::inline DT_PRECISION
