// Matrix products.
#include "core/kernels/gemm.h"
#include "core/ops.h"

namespace difftensor::inline DT_PRECISION {

Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) {
  require(a.rank() >= 2 && b.rank() >= 2, "matmul", a.shape(), " x ", b.shape(), ": both need at least 2 axes");
  const int64_t M = a.dim(transpose_a ? -1 : -2), K = a.dim(transpose_a ? -2 : -1), N = b.dim(transpose_b ? -2 : -1);
  require(b.dim(transpose_b ? -1 : -2) == K, "matmul", a.shape(), transpose_a ? "^T" : "", " x ", b.shape(),
          transpose_b ? "^T" : "", ": inner sizes ", K, " and ", b.dim(transpose_b ? -1 : -2), " differ");

  // Batch axes broadcast: batch i multiplies matrix of_a[i] of a by matrix of_b[i] of b.
  Shape shape;
  const int rank = std::max(a.rank(), b.rank());
  auto size_at = [rank](const Tensor& t, int axis) {
    return axis < rank - t.rank() ? 1 : t.shape()[axis - (rank - t.rank())];
  };
  for (int axis = 0; axis < rank - 2; ++axis) {
    int64_t sa = size_at(a, axis), sb = size_at(b, axis);
    require(sa == sb || sa == 1 || sb == 1, "matmul", a.shape(), " x ", b.shape(), ": batch axes do not broadcast");
    shape.push_back(sa == 1 ? sb : sa);
  }
  const int64_t batches = shape.numel();
  std::vector<int64_t> of_a(batches, 0), of_b(batches, 0);
  for (int64_t i = 0; i < batches; ++i) {
    int64_t rest = i, stride_a = 1, stride_b = 1;
    for (int axis = rank - 3; axis >= 0; --axis) {
      int64_t sa = size_at(a, axis), sb = size_at(b, axis), at = rest % shape[axis];
      rest /= shape[axis];
      if (sa != 1) of_a[i] += at * stride_a;
      if (sb != 1) of_b[i] += at * stride_b;
      stride_a *= sa;
      stride_b *= sb;
    }
  }
  shape.push_back(M);
  shape.push_back(N);
  Tensor out(shape);
  for (int64_t i = 0; i < batches; ++i)
    kernels::parallel_gemm(transpose_a, transpose_b, M, N, K, a.data() + of_a[i] * M * K, b.data() + of_b[i] * K * N, 0,
                           out.data() + i * M * N);

  // C = A B:  dA += dC B^T,  dB += A^T dC. If A was stored transposed, its gradient is (dC B^T)^T = B dC^T; and if B
  // was, (A^T dC)^T = dC^T A. Batches that share a matrix add into it one after the other.
  return record("matmul", out, {a, b},
                [a = a.storage(), b = b.storage(), of_a, of_b, M, N, K, transpose_a, transpose_b](const Gradients& g) {
                  Scalar* da = g.wants(0) ? g.in(0) : nullptr;
                  Scalar* db = g.wants(1) ? g.in(1) : nullptr;
                  for (size_t i = 0; i < of_a.size(); ++i) {
                    const Scalar *A = a.data() + of_a[i] * M * K, *B = b.data() + of_b[i] * K * N,
                                 *dC = g.out + i * M * N;
                    if (da && !transpose_a)
                      kernels::parallel_gemm(false, !transpose_b, M, K, N, dC, B, 1, da + of_a[i] * M * K);
                    if (da && transpose_a)
                      kernels::parallel_gemm(transpose_b, true, K, M, N, B, dC, 1, da + of_a[i] * M * K);
                    if (db && !transpose_b)
                      kernels::parallel_gemm(!transpose_a, false, K, N, M, A, dC, 1, db + of_b[i] * K * N);
                    if (db && transpose_b)
                      kernels::parallel_gemm(true, transpose_a, N, K, M, dC, A, 1, db + of_b[i] * K * N);
                  }
                });
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
  const bool parameter = weight.is_parameter();
  kernels::weight_gemm(true, rows, out_features, in, x.data(), weight.storage(), parameter, bias.defined(), out.data());

  // y = x W^T + b:  dx += dy W,  dW += dy^T x,  db += the sum of dy over rows
  return record("linear", out, {x, weight, bias},
                [x = x.storage(), w = weight.storage(), parameter, rows, in, out_features](const Gradients& g) {
                  Scalar beta;
                  if (g.wants(0)) {
                    Scalar* dx = g.in(0, beta);
                    kernels::weight_gemm(false, rows, in, out_features, g.out, w, parameter, beta, dx);
                  }
                  if (g.wants(1)) {
                    Scalar* dw = g.in(1, beta);
                    kernels::parallel_gemm(true, false, out_features, in, rows, g.out, x.data(), beta, dw);
                  }
                  if (g.wants(2)) kernels::add_column_sums(g.out, rows, out_features, g.in(2));
                });
}

}  // namespace difftensor::inline DT_PRECISION
