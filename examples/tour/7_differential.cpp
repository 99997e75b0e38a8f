// 7. Differential attention: two maps and their difference, and its backward by hand, line by line.
#include <cmath>
#include <cstdio>

#include "core/ops.h"

using namespace difftensor;

// What a softmax passes back. Of Z with A = softmax(Z / sqrt(d)), row by row: raising Z_ij raises A_ij and, as a row
// sums to 1, lowers the rest of the row. So what counts is how much more A_ij is wanted than the row's mean:
//   dZ_ij = A_ij (dA_ij - sum_k dA_ik A_ik) / sqrt(d)
Tensor softmax_backward(const Tensor& A, const Tensor& dA, Scalar root_d) {
  return A * (dA - sum(dA * A, 1, /*keepdim=*/true)) / root_d;
}

// Whether two tensors agree to five digits of the larger one's largest number.
const char* same(const Tensor& a, const Tensor& b) {
  const Tensor difference = a - b;
  return max(maximum(difference, -difference)).item() <= 1e-5 * max(maximum(a, -a)).item() ? "same" : "DIFFERENT";
}

int main() {
  // --- Why subtract? One query, 32 keys; key 7 is the answer, the others are noise. --------------------------------
  {
    const int64_t S = 32;
    Random random(3);
    const Tensor noise = randn({1, S}, random, 0.5);  // what both maps see in keys that mean nothing
    Tensor answer = zeros({1, S});
    answer.data()[7] = 4;  // what only the first map sees
    const Tensor A1 = softmax(noise + answer), A2 = softmax(noise);
    std::printf("A1 - lambda A2, and the share of all weight that is on the answer:\n");
    for (Scalar lambda : {0.0, 0.2, 0.35, 0.5, 0.8}) {
      const Tensor A = A1 - lambda * A2, size = maximum(A, -A);
      std::printf("  lambda %.2f |", lambda);
      for (Scalar w : size.values()) std::putchar(" .:-=+*#%@"[std::min(9, static_cast<int>(w * 90))]);
      std::printf("| %.0f%%\n", 100 * size.values()[7] / sum(size).item());
    }
  }

  // --- Forward: a sentence of 5 asks one of 7. ---------------------------------------------------------------------
  const int64_t T = 5, S = 7, d = 4, e = 8;
  const Scalar root_d = std::sqrt(Scalar(d));
  Random random(1);
  Tensor Q1 = randn({T, d}, random), Q2 = randn({T, d}, random), K1 = randn({S, d}, random), K2 = randn({S, d}, random);
  Tensor V = randn({S, e}, random), lambda = scalar(Scalar(0.6));
  for (Tensor* leaf : {&Q1, &Q2, &K1, &K2, &V, &lambda}) leaf->requires_grad();
  const Tensor A1 = softmax(matmul(Q1, K1, false, true) / root_d), A2 = softmax(matmul(Q2, K2, false, true) / root_d);
  const Tensor A = A1 - lambda * A2, out = matmul(A, V);
  const Tensor dout = randn({T, e}, random);  // dL/dout, as whatever comes after may ask

  // --- Backward by hand, from out to the inputs. -------------------------------------------------------------------
  const auto by_hand = [&] {
    const NoGrad no_grad;
    // out = A V. The product rule of matrices (program 3): each factor's gradient is dout times the other one.
    const Tensor dV = matmul(A, dout, /*transpose_a=*/true);         // dV = A^T dout
    const Tensor dA = matmul(dout, V, false, /*transpose_b=*/true);  // dA = dout V^T
    // A = A1 - lambda A2. A1 hears dA as it is, A2 hears it times -lambda, and lambda, used everywhere, a sum.
    const Tensor &dA1 = dA, dA2 = -lambda * dA, dlambda = -sum(dA * A2);
    // Each map is a softmax, and its scores a product again: Z = Q K^T.
    const Tensor dZ1 = softmax_backward(A1, dA1, root_d), dZ2 = softmax_backward(A2, dA2, root_d);
    const Tensor dQ1 = matmul(dZ1, K1), dK1 = matmul(dZ1, Q1, true);  // dQ = dZ K, dK = dZ^T Q
    const Tensor dQ2 = matmul(dZ2, K2), dK2 = matmul(dZ2, Q2, true);
    return std::vector<Tensor>{dQ1, dQ2, dK1, dK2, dV, dlambda};
  }();

  // --- The same by autograd; and by the library's op, in which no map is ever stored. -------------------------------
  out.backward(dout);
  std::vector<Tensor> by_autograd, by_op;
  for (Tensor* leaf : {&Q1, &Q2, &K1, &K2, &V, &lambda}) {
    by_autograd.push_back(leaf->grad().clone());
    leaf->zero_grad();
  }
  const AttentionLayout layout{.heads = 1, .queries = {{0, T}}, .keys = {{0, S}}, .causal = false};
  const Tensor fused = diff_attention(concat({Q1, Q2}, 1), concat({K1, K2}, 1), V, lambda, layout);
  std::printf("\n%-9s %s\n\n%-9s autograd   diff_attention\n", "out", same(out, fused), "by hand");
  fused.backward(dout);
  for (Tensor* leaf : {&Q1, &Q2, &K1, &K2, &V, &lambda}) by_op.push_back(leaf->grad());
  const char* names[] = {"dQ1", "dQ2", "dK1", "dK2", "dV", "dlambda"};
  for (int i = 0; i < 6; ++i)
    std::printf("%-9s %-10s %s\n", names[i], same(by_hand[i], by_autograd[i]), same(by_hand[i], by_op[i]));
}
