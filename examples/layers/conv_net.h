#pragma once
// A small network for images, with batch normalisation.
#include "core/ops.h"
#include "core/parallel_backward.h"
#include "nn/linear.h"

namespace layers {
using namespace difftensor;

/// Batch normalisation (Ioffe, Szegedy 2015): each channel of x (B, C, H, W) to mean 0 and variance 1, then times
/// weight plus bias, to the precision of layer_norm() also where the mean is large beside the spread. In training these
/// are the batch's mean and variance; in evaluation the running ones, which are buffers: saved, but not trained. They
/// move once for a batch, also where a checkpoint computes it again in backward(). Throws in training inside a
/// parallel_backward(): each part of the batch would be normalised by itself, and move the running statistics whenever
/// its thread got there.
class BatchNorm2d : public nn::Module {
 public:
  explicit BatchNorm2d(int64_t channels, Scalar momentum = Scalar(0.1), Scalar eps = Scalar(1e-5))
      : momentum(momentum),
        eps(eps),
        weight(add_parameter("weight", ones({channels, 1, 1}))),
        bias(add_parameter("bias", zeros({channels, 1, 1}))),
        running_mean(add_buffer("running_mean", zeros({channels, 1, 1}))),
        running_var(add_buffer("running_var", ones({channels, 1, 1}))) {}

  Tensor operator()(const Tensor& x) const {
    if (!training()) return normalised(x, running_mean, running_var);
    require(!inside_parallel_backward(), "BatchNorm2d",
            "in training it needs the whole batch: not inside parallel_backward()");
    const Axes all_but_channels{0, 2, 3};
    const Tensor m = mean(x.detach(), all_but_channels, true), v = var(x, all_but_channels, true, 0);
    if (!inside_backward()) {
      // As in PyTorch, what is kept is the unbiased variance.
      const auto n = static_cast<Scalar>(x.numel() / x.dim(1));
      follow(running_mean, m, 1);
      follow(running_var, v, n / std::max<Scalar>(1, n - 1));
    }
    // m is rounded: of 1e8, 1e8 + 8, ... it misses the mean by as much as the spread. But a shift changes nothing, and
    // is a constant to the gradient. Once m is off x, small numbers are left, whose mean has all its digits.
    const Tensor shifted = x - m;
    return normalised(shifted, mean(shifted, all_but_channels, true), v);
  }

  const Scalar momentum, eps;
  const Tensor weight, bias, running_mean, running_var;

 private:
  Tensor normalised(const Tensor& x, const Tensor& m, const Tensor& v) const {
    return (x - m) / sqrt(v + eps) * weight + bias;
  }
  // running += momentum (factor now - running). A handle to the buffer is written through: the module itself is const.
  void follow(Tensor running, const Tensor& now, Scalar factor) const {
    Scalar* r = running.data();
    for (int64_t i = 0; i < running.numel(); ++i) r[i] += momentum * (factor * now.data()[i] - r[i]);
  }
};

/// Two blocks of convolution, batch norm, ReLU and pooling, then a linear layer: (B, C, 8, 8) -> (B, classes).
class ConvNet : public nn::Module {
 public:
  ConvNet(int64_t channels, int64_t classes, Random& random)
      : conv1(add_parameter("conv1", randn({8, channels, 3, 3}, random, Scalar(0.2)))),
        conv2(add_parameter("conv2", randn({16, 8, 3, 3}, random, Scalar(0.1)))),
        norm1(add_module<BatchNorm2d>("norm1", 8)),
        norm2(add_module<BatchNorm2d>("norm2", 16)),
        out(add_module<nn::Linear>("out", 16 * 2 * 2, classes, true, random)) {}

  Tensor operator()(const Tensor& x) const {
    Tensor h = max_pool2d(relu(norm1(conv2d(x, conv1, {}, {.padding = 1}))), 2);
    h = max_pool2d(relu(norm2(conv2d(h, conv2, {}, {.padding = 1}))), 2);
    return out(reshape(h, {x.dim(0), -1}));
  }

  const Tensor conv1, conv2;
  BatchNorm2d &norm1, &norm2;
  nn::Linear& out;
};

}  // namespace layers
