// 4. Moons: a network learns. Forward, loss, backward, a step; again. And a picture of what it came to think.
#include <cmath>
#include <cstdio>

#include "nn/linear.h"
#include "nn/losses.h"
#include "optim/optimizer.h"

using namespace difftensor;

// Two layers and a tanh between them: (N, 2) -> (N, 1), a score that is positive for the lower moon.
struct Net : nn::Module {
  explicit Net(Random& random)
      : hidden(add_module<nn::Linear>("hidden", 2, 16, true, random)),
        output(add_module<nn::Linear>("output", 16, 1, true, random)) {}
  Tensor operator()(const Tensor& x) const { return output(tanh(hidden(x))); }
  nn::Linear &hidden, &output;
};

struct Moons {
  Tensor points, lower;  // (N, 2), and (N, 1): 1 on the lower moon, 0 on the upper
};

// Points on two interleaved half circles, with noise.
Moons make_moons(int64_t n, Random& random) {
  std::vector<Scalar> points, lower;
  for (int64_t i = 0; i < n; ++i) {
    const bool low = i % 2;
    const Scalar angle = Scalar(M_PI) * random.uniform();
    points.push_back((low ? 1 - std::cos(angle) : std::cos(angle)) + Scalar(0.1) * random.normal());
    points.push_back((low ? Scalar(0.5) - std::sin(angle) : std::sin(angle)) + Scalar(0.1) * random.normal());
    lower.push_back(low);
  }
  return {tensor(points, {n, 2}), tensor(lower, {n, 1})};
}

int right(const Net& net, const Moons& moons) {
  const NoGrad no_grad;  // only looking
  const std::vector<Scalar> score = net(moons.points).values(), lower = moons.lower.values();
  int count = 0;
  for (size_t i = 0; i < score.size(); ++i) count += (score[i] > 0) == (lower[i] > 0);
  return count;
}

// The plane from (-1.5, 1.5) to (2.5, -1): '.' where the network says upper, ':' where lower. o and x are points.
void draw(const Net& net, const Moons& moons) {
  const NoGrad no_grad;
  constexpr int width = 64, height = 20;
  const auto place = [](Scalar value, Scalar from, Scalar to, int cells) {
    return std::min(cells - 1,
                    std::max(0, static_cast<int>((value - from) / (to - from) * static_cast<Scalar>(cells))));
  };
  std::vector<std::string> picture(height, std::string(width, '.'));
  for (int row = 0; row < height; ++row)
    for (int column = 0; column < width; ++column) {
      const Scalar x = Scalar(-1.5) + 4 * (Scalar(column) + Scalar(0.5)) / width;
      const Scalar y = Scalar(1.5) - Scalar(2.5) * (Scalar(row) + Scalar(0.5)) / height;
      if (net(tensor({x, y}, {1, 2})).item() > 0) picture[row][column] = ':';
    }
  const std::vector<Scalar> points = moons.points.values(), lower = moons.lower.values();
  for (size_t i = 0; i < lower.size(); ++i)
    picture[place(points[2 * i + 1], 1.5, -1, height)][place(points[2 * i], -1.5, 2.5, width)] =
        lower[i] > 0 ? 'x' : 'o';
  for (const std::string& row : picture) std::puts(row.c_str());
}

int main() {
  Random random(1);
  const Moons seen = make_moons(200, random), new_ones = make_moons(1000, random);
  const Net net(random);
  optim::AdamW optimizer(net.parameters(), 0.05);
  for (int step = 0; step <= 200; ++step) {
    const Tensor loss = nn::binary_cross_entropy_with_logits(net(seen.points), seen.lower);
    if (step % 50 == 0)
      std::printf("step %3d  loss %.3f  right: %3d of 200, %3d of 1000 new ones\n", step, loss.item(), right(net, seen),
                  right(net, new_ones));
    loss.backward();        // how the loss grows with each parameter
    optimizer.step();       // a small step the other way
    optimizer.zero_grad();  // gradients add: begin the next one at nothing
  }
  draw(net, seen);
}
