// 3. A layer: an op with a backward of its own, a module around it, and how to know that the gradient is right.
#include <iostream>

#include "core/gradcheck.h"
#include "nn/module.h"

using namespace difftensor;

// y = x W^T + b for x (N, in), W (out, in), b (out): each output is a weighted sum of the inputs. The library's
// linear() is this, fast. To see what gradcheck is for, the backward can be given a mistake.
Tensor dense(const Tensor& x, const Tensor& W, const Tensor& b, bool mistaken = false) {
  const int64_t N = x.dim(0), in = x.dim(1), out = W.dim(0);
  require(W.dim(1) == in && b.shape() == Shape{out}, "dense", x.shape(), " x ", W.shape(), "^T + ", b.shape());
  Tensor y({N, out});
  for (int64_t n = 0; n < N; ++n)
    for (int64_t o = 0; o < out; ++o) {
      Scalar sum = b.data()[o];
      for (int64_t i = 0; i < in; ++i) sum += x.data()[n * in + i] * W.data()[o * in + i];
      y.data()[n * out + o] = sum;
    }
  // Look at one weight, W_oi. It takes part in y_no for every row n, with the factor x_ni. When it grows by 1, each of
  // these y_no grows by x_ni, and L by dy_no x_ni, where dy_no is dL/dy_no. Likewise for x_ni and b_o. So
  //   dW_oi = sum_n dy_no x_ni,   dx_ni = sum_o dy_no W_oi,   db_o = sum_n dy_no
  // The closure runs in backward(). It keeps the values that it will read, and adds to what has arrived already. Data
  // need no gradient: x has none then.
  return record("dense", y, {x, W, b}, [x = x.storage(), W = W.storage(), N, in, out, mistaken](const Gradients& g) {
    Scalar *dx = g.wants(0) ? g.buffer(0) : nullptr, *dW = g.buffer(1), *db = g.buffer(2);
    for (int64_t n = 0; n < N; ++n)
      for (int64_t o = 0; o < out; ++o) {
        const Scalar dy = g.out[n * out + o];
        for (int64_t i = 0; i < in; ++i) {
          if (mistaken)
            dW[o * in + i] = dy * x.data()[n * in + i];  // the last row's alone
          else
            dW[o * in + i] += dy * x.data()[n * in + i];
          if (dx) dx[n * in + i] += dy * W.data()[o * in + i];
        }
        db[o] += dy;
      }
  });
}

// A module owns parameters and gives them names. What add_parameter registers is what is trained and saved.
struct Dense : nn::Module {
  Dense(int64_t in, int64_t out, Random& random)
      : weight(add_parameter("weight", xavier_uniform({out, in}, random))), bias(add_parameter("bias", zeros({out}))) {}
  Tensor operator()(const Tensor& x) const { return dense(x, weight, bias); }
  const Tensor weight, bias;
};

// Modules are made of modules. Without the tanh between them, two linear layers would be no more than one.
struct Net : nn::Module {
  explicit Net(Random& random)
      : hidden(add_module<Dense>("hidden", 3, 5, random)), output(add_module<Dense>("output", 5, 2, random)) {}
  Tensor operator()(const Tensor& x) const { return output(tanh(hidden(x))); }
  Dense &hidden, &output;
};

int main() {
  Random random(1);
  const Tensor x = randn({4, 3}, random), W = randn({2, 3}, random), b = randn({2}, random);

  // gradcheck moves each number a little up and down, and compares what the result does with what backward() says.
  const auto say = [](const char* what, const GradcheckResult& result) {
    std::cout << what << ": " << (result.ok ? "right" : "WRONG\n  " + result.message) << "\n";
  };
  say("dense", gradcheck([](auto& in) { return dense(in[0], in[1], in[2]); }, {x, W, b}));
  say("dense, mistaken", gradcheck([](auto& in) { return dense(in[0], in[1], in[2], true); }, {x, W, b}));

  const Net net(random);
  say("two layers and a tanh", gradcheck(net, [&](auto& in) { return net(in[0]); }, {x}));

  std::cout << "\nwhat the network can learn, " << net.parameter_count() << " numbers:\n";
  for (const auto& [name, parameter] : net.named_parameters())
    std::cout << "  " << name << " " << parameter.shape() << "\n";
}
