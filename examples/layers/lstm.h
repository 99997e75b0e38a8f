#pragma once
// Two recurrent networks over sequences x (T, B, in): the same step for each t, with what the last one left.
#include "core/ops.h"
#include "nn/linear.h"

namespace layers {
using namespace difftensor;

/// Long short-term memory (Hochreiter, Schmidhuber 1997; with a forget gate, Gers et al. 2000):
///   i, f, o = sigmoid(W x_t + U h + b),  g = tanh(...),  c = f c + i g,  h = o tanh(c)
/// with all four rows of W, U and b in one matrix, in the order i, f, g, o, as PyTorch has them.
class LSTM : public nn::Module {
 public:
  LSTM(int64_t in, int64_t hidden, Random& random)
      : hidden(hidden),
        input(add_module<nn::Linear>("input", in, 4 * hidden, true, random)),
        recurrent(add_module<nn::Linear>("recurrent", hidden, 4 * hidden, false, random)) {}

  /// x (T, B, in) -> h of every step (T, B, hidden). h and c are zero before the first.
  Tensor operator()(const Tensor& x) const {
    Tensor h = zeros({x.dim(1), hidden}), c = h;
    std::vector<Tensor> steps;
    for (const Tensor& from_x : unbind(input(x), 0)) {  // one product for all steps
      const std::vector<Tensor> gates = chunk(from_x + recurrent(h), 4, -1);
      c = sigmoid(gates[1]) * c + sigmoid(gates[0]) * tanh(gates[2]);
      h = sigmoid(gates[3]) * tanh(c);
      steps.push_back(h);
    }
    return stack(steps, 0);
  }

  const int64_t hidden;
  nn::Linear &input, &recurrent;
};

/// Gated recurrent unit (Cho et al. 2014), as PyTorch has it:
///   r, z = sigmoid(W x_t + U h + b),  n = tanh(W_n x_t + b_n + r (U_n h + c_n)),  h = (1 - z) n + z h
class GRU : public nn::Module {
 public:
  GRU(int64_t in, int64_t hidden, Random& random)
      : hidden(hidden),
        input(add_module<nn::Linear>("input", in, 3 * hidden, true, random)),
        recurrent(add_module<nn::Linear>("recurrent", hidden, 3 * hidden, true, random)) {}

  /// x (T, B, in) -> the hidden state after each step (T, B, hidden)
  Tensor operator()(const Tensor& x) const {
    Tensor h = zeros({x.dim(1), hidden});
    std::vector<Tensor> steps;
    for (const Tensor& from_x : unbind(input(x), 0)) {
      const std::vector<Tensor> a = chunk(from_x, 3, -1), b = chunk(recurrent(h), 3, -1);
      const Tensor r = sigmoid(a[0] + b[0]), z = sigmoid(a[1] + b[1]);
      h = (1 - z) * tanh(a[2] + r * b[2]) + z * h;
      steps.push_back(h);
    }
    return stack(steps, 0);
  }

  const int64_t hidden;
  nn::Linear &input, &recurrent;
};

}  // namespace layers
