// A tour of the engine in 60 lines: an expression, its gradients and its graph; then a small network that learns.
//   build/tour/1_autograd                                                        prints the tour
//   build/tour/1_autograd | sed -n '/^digraph/,/^}/p' | dot -Tsvg > graph.svg      draws the graph
#include <cmath>
#include <iostream>

#include "core/gradcheck.h"
#include "core/fast_blas.h"
#include "nn/linear.h"
#include "nn/losses.h"
#include "optim/optimizer.h"

using namespace difftensor;

// Two layers and a tanh between them. A module registers its parts; parameters, saving and training come for nothing.
struct MLP : nn::Module {
  explicit MLP(Random& random)
      : hidden(add_module<nn::Linear>("hidden", 2, 16, true, random)),
        output(add_module<nn::Linear>("output", 16, 1, true, random)) {}
  Tensor operator()(const Tensor& x) const { return output(tanh(hidden(x))); }
  nn::Linear &hidden, &output;
};

int main(int, char** argv) {
  ensure_fast_blas(argv);

  // 1. Tensors that require a gradient, and an expression of them.
  Tensor x = tensor({1, 2, 3, 4}, {2, 2}).requires_grad(), w = tensor({1, -1}, {2, 1}).requires_grad();
  Tensor loss = sum(exp(matmul(x, w)) + w * w);
  std::cout << "x = " << x << "\nw = " << w << "\nloss = sum(exp(x w) + w^2) = " << loss.item() << "\n\n";

  // 2. Its graph, which holds all that backward() needs; and the gradients.
  std::cout << graphviz(loss) << "\n";
  loss.backward();
  std::cout << "dloss/dx = " << x.grad() << "\ndloss/dw = " << w.grad() << "\n\n";

  // 3. Are they right? Compare with difference quotients.
  std::cout << "gradcheck: " << gradcheck([](auto& in) { return sum(exp(matmul(in[0], in[1]))); }, {x, w}).message
            << "\n\n";

  // 4. Two moons: points on two interleaved half circles, with noise. Which moon is a point on?
  const int n = 200;
  Random random(1);
  Tensor points({n, 2}), moon({n, 1});
  for (int i = 0; i < n; ++i) {
    const bool lower = i % 2;
    const double angle = M_PI * random.uniform(), noise_x = 0.1 * random.normal(), noise_y = 0.1 * random.normal();
    points.data()[2 * i] = static_cast<Scalar>((lower ? 1 - std::cos(angle) : std::cos(angle)) + noise_x);
    points.data()[2 * i + 1] = static_cast<Scalar>((lower ? 0.5 - std::sin(angle) : std::sin(angle)) + noise_y);
    moon.data()[i] = lower;
  }
  MLP net(random);
  optim::AdamW optimizer(net.parameters(), 0.05);
  for (int step = 0; step <= 200; ++step) {
    Tensor logits = net(points);
    Tensor error = nn::binary_cross_entropy_with_logits(logits, moon);
    if (step % 50 == 0) {
      int right = 0;
      for (int i = 0; i < n; ++i) right += (logits.data()[i] > 0) == (moon.data()[i] > 0);
      std::cout << "step " << step << "  loss " << error.item() << "  right " << right << " of " << n << "\n";
    }
    error.backward();
    optimizer.step();
    optimizer.zero_grad();
  }
}
