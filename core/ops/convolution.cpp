// Convolutions and pooling, each a composition around one op: unfold, which lays every window out as a column. The rest
// is a matrix product, or a maximum over the columns.
#include "core/ops.h"

namespace difftensor::inline DT_PRECISION {
namespace {
// How many windows fit into an image (B, C, H, W), down and across.
HeightWidth windows_in(const Shape& image, HeightWidth size, HeightWidth stride, HeightWidth dilation) {
  HeightWidth count;
  for (int i : {0, 1}) {
    const int64_t length = image[2 + i];
    require(size[i] > 0 && stride[i] > 0 && dilation[i] > 0, "unfold", "size ", size[i], ", stride ", stride[i],
            " and dilation ", dilation[i], " must be positive");
    int64_t reach = 0;  // dilation (size - 1) + 1
    require(!__builtin_mul_overflow(dilation[i], size[i] - 1, &reach) && !__builtin_add_overflow(reach, 1, &reach),
            "unfold", "a window of ", size[i], " elements at distances of ", dilation[i]);
    require(reach <= length, "unfold", "a window that reaches over ", reach, " in ", image);
    count[i] = (length - reach) / stride[i] + 1;
  }
  return count;
}
}  // namespace

Tensor unfold(const Tensor& x, HeightWidth size, HeightWidth stride, HeightWidth dilation) {
  require(x.rank() == 4, "unfold", "images must be (B, C, H, W), not ", x.shape());
  const HeightWidth count = windows_in(x.shape(), size, stride, dilation);
  const int64_t planes = x.shape()[0] * x.shape()[1], height = x.shape()[2], width = x.shape()[3];
  // f(element of the result, element of x) for all, a plane at a time
  const auto each = [=](auto f) {
    parallel_for(planes, 1, [&](int64_t begin, int64_t end) {
      int64_t to = begin * size[0] * size[1] * count[0] * count[1];
      for (int64_t plane = begin; plane < end; ++plane)
        for (int64_t i = 0; i < size[0]; ++i)
          for (int64_t j = 0; j < size[1]; ++j)
            for (int64_t row = 0; row < count[0]; ++row) {
              const int64_t from = (plane * height + row * stride[0] + i * dilation[0]) * width + j * dilation[1];
              for (int64_t column = 0; column < count[1]; ++column) f(to++, from + column * stride[1]);
            }
    });
  };
  const Shape window{x.shape()[1], size[0], size[1]}, windows{count[0], count[1]};
  Tensor out(Shape{x.shape()[0], window.numel(), windows.numel()});
  each([x = x.data(), y = out.data()](int64_t to, int64_t from) { y[to] = x[from]; });
  // dx += dy of every window that an element is in
  return record("unfold", out, {x},
                [each](const Gradients& g) {
                  each([dx = g.buffer(0), dy = g.out](int64_t to, int64_t from) { dx[from] += dy[to]; });
                },
                {});
}

namespace {
// Both convolutions: the 1d one is that of images one row high.
Tensor convolve(const char* op, const Tensor& x, const Tensor& weight, const Tensor& bias, HeightWidth stride,
                HeightWidth padding, HeightWidth dilation, int64_t groups) {
  const Shape &image = x.shape(), &kernel = weight.shape();
  require(groups > 0 && image[1] % groups == 0 && kernel[0] % groups == 0, op, groups, " groups of ", image[1],
          " channels, and of ", kernel[0]);
  require(image[1] / groups == kernel[1], op, "x has ", image[1], " channels in ", groups, " groups, and the weight ",
          kernel[1]);
  const Tensor padded = pad(x, {padding[1], padding[1], padding[0], padding[0]});
  const HeightWidth size{kernel[2], kernel[3]}, windows = windows_in(padded.shape(), size, stride, dilation);
  const Tensor columns = unfold(padded, size, stride, dilation);
  const int64_t inside = Shape{kernel[1], kernel[2], kernel[3]}.numel();  // numbers that one output is made of
  // (groups, out / groups, inside) x (B, groups, inside, windows)
  const Tensor y = matmul(reshape(weight, {groups, kernel[0] / groups, inside}),
                          reshape(columns, {image[0], groups, inside, columns.dim(-1)}));
  const Tensor shaped = reshape(y, {image[0], kernel[0], windows[0], windows[1]});
  return bias.defined() ? shaped + reshape(bias, {kernel[0], 1, 1}) : shaped;
}

Tensor as_image(const char* op, const Tensor& x) {
  require(x.rank() == 3, op, "sequences must be (B, C, L), and weights (out, in, k), not ", x.shape());
  return unsqueeze(x, 2);
}

// (B, C, H, W) -> (B, C, size of a window, H', W'), to be reduced along axis 2. A stride of 0 is the size.
Tensor pool_windows(const Tensor& x, HeightWidth size, HeightWidth stride) {
  for (int i : {0, 1}) stride[i] = stride[i] ? stride[i] : size[i];
  const Tensor columns = unfold(x, size, stride);
  const HeightWidth windows = windows_in(x.shape(), size, stride, {1, 1});
  return reshape(columns, {x.dim(0), x.dim(1), size[0] * size[1], windows[0], windows[1]});
}
}  // namespace

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvOptions& o) {
  require(x.rank() == 4 && weight.rank() == 4, "conv2d", "x must be (B, C, H, W) and the weight (out, in, k, k'), not ",
          x.shape(), " and ", weight.shape());
  return convolve("conv2d", x, weight, bias, {o.stride, o.stride}, {o.padding, o.padding}, {o.dilation, o.dilation},
                  o.groups);
}
Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvOptions& o) {
  return squeeze(convolve("conv1d", as_image("conv1d", x), as_image("conv1d", weight), bias, {1, o.stride},
                          {0, o.padding}, {1, o.dilation}, o.groups),
                 2);
}

Tensor max_pool2d(const Tensor& x, int64_t size, int64_t stride) {
  return max(pool_windows(x, {size, size}, {stride, stride}), 2);
}
Tensor avg_pool2d(const Tensor& x, int64_t size, int64_t stride) {
  return mean(pool_windows(x, {size, size}, {stride, stride}), 2);
}
Tensor max_pool1d(const Tensor& x, int64_t size, int64_t stride) {
  return squeeze(max(pool_windows(as_image("max_pool1d", x), {1, size}, {1, stride}), 2), 2);
}
Tensor avg_pool1d(const Tensor& x, int64_t size, int64_t stride) {
  return squeeze(mean(pool_windows(as_image("avg_pool1d", x), {1, size}, {1, stride}), 2), 2);
}

}  // namespace difftensor::inline DT_PRECISION
