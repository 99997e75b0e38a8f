// Matrix products.
#include "core/kernels/gemm.h"
#include "core/kernels/packed_weights.h"
#include "core/ops.h"
#include "core/ops/broadcast.h"

namespace difftensor::inline DT_PRECISION {

Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) {
  require(a.rank() >= 1 && b.rank() >= 1, "matmul", a.shape(), " x ", b.shape(), ": a scalar has no axis to sum over");
  if (a.rank() == 1 || b.rank() == 1) {
    require(!(a.rank() == 1 && transpose_a) && !(b.rank() == 1 && transpose_b), "matmul", a.shape(), " x ", b.shape(),
            ": a vector has no transpose");
    const Tensor product =
        matmul(a.rank() == 1 ? unsqueeze(a, 0) : a, b.rank() == 1 ? unsqueeze(b, 1) : b, transpose_a, transpose_b);
    const Tensor rows = b.rank() == 1 ? squeeze(product, -1) : product;
    return a.rank() == 1 ? squeeze(rows, b.rank() == 1 ? -1 : -2) : rows;
  }
  const int64_t M = a.dim(transpose_a ? -1 : -2), K = a.dim(transpose_a ? -2 : -1), N = b.dim(transpose_b ? -2 : -1);
  require(b.dim(transpose_b ? -1 : -2) == K, "matmul", a.shape(), transpose_a ? "^T" : "", " x ", b.shape(),
          transpose_b ? "^T" : "", ": inner sizes ", K, " and ", b.dim(transpose_b ? -1 : -2), " differ");

  // Leading axes broadcast: matrix i of the result is matrix of_a[i] of a times matrix of_b[i] of b.
  const auto leading = [](const Tensor& t) {
    Shape shape(t.shape().begin(), t.shape().end() - 2);
    shape.push_back(1);  // a matrix counts as one element, in a row of its own
    return shape;
  };
  const Broadcast batch("matmul", {leading(a), leading(b)}, {a.shape(), b.shape()});
  std::vector<int64_t> of_a, of_b;
  for (int64_t i = 0; i < batch.rows(); ++i) {
    of_a.push_back(batch.offset(0, i));
    of_b.push_back(batch.offset(1, i));
  }
  Shape shape(batch.shape.begin(), batch.shape.end() - 1);
  shape.push_back(M);
  shape.push_back(N);
  Tensor out(shape);
  for (int64_t i = 0; i < batch.rows(); ++i)
    kernels::parallel_gemm(transpose_a, transpose_b, M, N, K, a.data() + of_a[i] * M * K, b.data() + of_b[i] * K * N,
                           false, out.data() + i * M * N);

  // One element first: C_mn = sum_k A_mk B_kn. A_mk takes part in every C_mn of its row m, with the factor B_kn, so
  //   dA_mk = sum_n dC_mn B_kn,  in matrices  dA += dC B^T.  In the same way
  //   dB_kn = sum_m A_mk dC_mn,  in matrices  dB += A^T dC.
  // If A is stored transposed, so is its gradient: (dC B^T)^T = B dC^T. And B's: (A^T dC)^T = dC^T A. Products that
  // share a matrix (its leading axes were stretched) add to its gradient one after the other.
  return record("matmul", out, {a, b},
                [a = a.storage(), b = b.storage(), of_a, of_b, M, N, K, transpose_a, transpose_b](const Gradients& g) {
                  Scalar* da = g.wants(0) ? g.buffer(0) : nullptr;
                  Scalar* db = g.wants(1) ? g.buffer(1) : nullptr;
                  for (size_t i = 0; i < of_a.size(); ++i) {
                    const Scalar *A = a.data() + of_a[i] * M * K, *B = b.data() + of_b[i] * K * N,
                                 *dC = g.out + i * M * N;
                    if (da && !transpose_a)
                      kernels::parallel_gemm(false, !transpose_b, M, K, N, dC, B, true, da + of_a[i] * M * K);
                    if (da && transpose_a)
                      kernels::parallel_gemm(transpose_b, true, K, M, N, B, dC, true, da + of_a[i] * M * K);
                    if (db && !transpose_b)
                      kernels::parallel_gemm(!transpose_a, false, K, N, M, A, dC, true, db + of_b[i] * K * N);
                    if (db && transpose_b)
                      kernels::parallel_gemm(true, transpose_a, N, K, M, dC, A, true, db + of_b[i] * K * N);
                  }
                },
                {{a, b.needs_grad()}, {b, a.needs_grad()}});
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  require(weight.rank() == 2 && x.rank() >= 1 && x.shape().back() == weight.shape()[1], "linear", x.shape(), " x ",
          weight.shape(), "^T: the last size of x must be the weight's second");
  const int64_t in = weight.shape()[1], out_features = weight.shape()[0];
  const int64_t rows = Shape(x.shape().begin(), x.shape().end() - 1).numel();
  require(!bias.defined() || bias.shape() == Shape{out_features}, "linear", "bias of shape ",
          bias.defined() ? bias.shape() : Shape{}, " for ", out_features, " outputs");
  Shape shape = x.shape();
  shape[shape.rank() - 1] = out_features;
  Tensor out(shape);
  if (bias.defined())
    for (int64_t i = 0; i < rows; ++i) std::copy_n(bias.data(), out_features, out.data() + i * out_features);
  const bool parameter = is_registered(weight);  // others may soon die: packing them would not pay
  kernels::weight_gemm(true, rows, out_features, in, x.data(), weight.storage(), parameter, bias.defined(), out.data());

  // One element first: y_no = sum_i x_ni W_oi + b_o. The weight W_oi takes part in output o of every row n, with the
  // factor x_ni; x_ni takes part in every output o of its row, with the factor W_oi; b_o in every row, with 1:
  //   dW_oi = sum_n dy_no x_ni,  dx_ni = sum_o dy_no W_oi,  db_o = sum_n dy_no,  which is to say
  //   dW += dy^T x,  dx += dy W,  db += the sum of dy over rows.
  return record("linear", out, {x, weight, bias},
                [x = x.storage(), w = weight.storage(), parameter, rows, in, out_features](const Gradients& g) {
                  if (g.wants(0)) {
                    const GradientBuffer dx = g.raw_buffer(0);
                    kernels::weight_gemm(false, rows, in, out_features, g.out, w, parameter, !dx.is_new, dx.data);
                  }
                  if (g.wants(1)) {
                    const GradientBuffer dw = g.raw_buffer(1);
                    kernels::parallel_gemm(true, false, out_features, in, rows, g.out, x.data(), !dw.is_new, dw.data);
                  }
                  if (g.wants(2)) kernels::add_column_sums(g.out, rows, out_features, g.buffer(2));
                },
                {{x, weight.needs_grad()}, {weight, x.needs_grad()}});
}

}  // namespace difftensor::inline DT_PRECISION
