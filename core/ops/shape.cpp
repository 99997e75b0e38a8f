// Ops that move elements without changing them.
#include <numeric>

#include "core/ops.h"
#include "core/ops/axes.h"

namespace difftensor::inline DT_PRECISION {
namespace {
int64_t product(const Shape& shape, int begin, int end) {
  return Shape(shape.begin() + begin, shape.begin() + end).numel();
}
}  // namespace

Tensor reshape(const Tensor& x, std::vector<int64_t> sizes) {
  auto inferred = std::find(sizes.begin(), sizes.end(), -1);
  if (inferred != sizes.end()) {
    *inferred = 1;
    int64_t known = Shape(sizes.begin(), sizes.end()).numel();
    require(known > 0 && x.numel() % known == 0, "reshape", x.shape(), " has no whole number of blocks of ", known);
    *inferred = x.numel() / known;
  }
  Shape shape(sizes.begin(), sizes.end());
  require(shape.numel() == x.numel(), "reshape", x.shape(), " to ", shape, ": numbers of elements differ");
  return record("reshape", Tensor(shape, x.storage()), {x}, [](const Gradients& g) { g.add_output_gradient(0); }, {});
}

Tensor permute(const Tensor& x, const std::vector<int>& axes) {
  const int rank = x.rank();
  std::vector<bool> seen(rank, false);
  require(static_cast<int>(axes.size()) == rank, "permute", axes.size(), " axes named for shape ", x.shape());
  Shape shape;
  std::vector<int64_t> strides;  // of x, along each axis of the result
  for (int axis : axes) {
    int i = checked_axis("permute", axis, rank, x.shape());
    require(!seen[i], "permute", "axis ", axis, " is named twice");
    seen[i] = true;
    shape.push_back(x.shape()[i]);
    strides.push_back(product(x.shape(), i + 1, rank));
  }
  // f(place in the result, place in x) for every element
  auto each = [shape, strides](auto f) {
    const int last = shape.rank() - 1;
    const int64_t width = last < 0 ? 1 : shape[last], stride = last < 0 ? 0 : strides[last];
    for (int64_t row = 0, rows = width ? shape.numel() / width : 0; row < rows; ++row) {
      int64_t rest = row, from = 0;
      for (int axis = last - 1; axis >= 0; --axis) {
        from += rest % shape[axis] * strides[axis];
        rest /= shape[axis];
      }
      for (int64_t i = 0; i < width; ++i) f(row * width + i, from + i * stride);
    }
  };
  Tensor out(shape);
  each([y = out.data(), x = x.data()](int64_t to, int64_t from) { y[to] = x[from]; });
  // dx at its old place += dy at its new
  return record("permute", out, {x},
                [each](const Gradients& g) {
                  each([dx = g.buffer(0), dy = g.out](int64_t to, int64_t from) { dx[from] += dy[to]; });
                },
                {});
}

Tensor transpose(const Tensor& x, int axis1, int axis2) {
  axis1 = checked_axis("transpose", axis1, x.rank(), x.shape());
  axis2 = checked_axis("transpose", axis2, x.rank(), x.shape());
  if (axis1 == axis2) return x;
  std::vector<int> axes(x.rank());
  std::iota(axes.begin(), axes.end(), 0);
  std::swap(axes[axis1], axes[axis2]);
  return permute(x, axes);
}

Tensor slice(const Tensor& x, int axis, int64_t begin, int64_t end) {
  axis = checked_axis("slice", axis, x.rank(), x.shape());
  require(0 <= begin && begin <= end && end <= x.shape()[axis], "slice", begin, " to ", end, " of axis ", axis,
          " in shape ", x.shape());
  Shape shape = x.shape();
  shape[axis] = end - begin;
  const int64_t outer = product(shape, 0, axis), inner = product(shape, axis + 1, shape.rank());
  const int64_t take = (end - begin) * inner, skip = x.shape()[axis] * inner, from = begin * inner;
  Tensor out(shape);
  for (int64_t i = 0; i < outer; ++i) std::copy_n(x.data() + i * skip + from, take, out.data() + i * take);
  // dx += dy inside the slice
  return record("slice", out, {x},
                [outer, take, skip, from](const Gradients& g) {
                  Scalar* dx = g.buffer(0) + from;
                  for (int64_t i = 0; i < outer; ++i)
                    for (int64_t j = 0; j < take; ++j) dx[i * skip + j] += g.out[i * take + j];
                },
                {});
}

Tensor concat(const std::vector<Tensor>& parts, int axis) {
  require(!parts.empty(), "concat", "nothing to join");
  Shape shape = parts[0].shape();
  axis = checked_axis("concat", axis, shape.rank(), shape);
  int64_t total = 0;
  for (const Tensor& part : parts) {
    Shape like = part.shape();
    if (like.rank() == shape.rank()) like[axis] = shape[axis];
    require(like == shape, "concat", "shapes ", shape, " and ", part.shape(), " differ outside axis ", axis);
    require(!__builtin_add_overflow(total, part.shape()[axis], &total), "concat", "axis ", axis, " is too long");
  }
  shape[axis] = total;
  const int64_t outer = product(shape, 0, axis), inner = product(shape, axis + 1, shape.rank()), width = total * inner;
  Tensor out(shape);
  std::vector<int64_t> takes;
  int64_t at = 0;
  for (const Tensor& part : parts) {
    int64_t take = part.shape()[axis] * inner;
    for (int64_t i = 0; i < outer; ++i) std::copy_n(part.data() + i * take, take, out.data() + i * width + at);
    takes.push_back(take);
    at += take;
  }
  // each part's gradient += its piece of dy
  std::vector<std::reference_wrapper<const Tensor>> inputs(parts.begin(), parts.end());
  return record("concat", out, inputs,
                [takes, outer, width](const Gradients& g) {
                  int64_t from = 0;
                  for (int part = 0; part < static_cast<int>(takes.size()); from += takes[part++]) {
                    if (!g.wants(part)) continue;
                    Scalar* dx = g.buffer(part);
                    for (int64_t i = 0; i < outer; ++i)
                      for (int64_t j = 0; j < takes[part]; ++j) dx[i * takes[part] + j] += g.out[i * width + from + j];
                  }
                },
                {});
}

Tensor stack(const std::vector<Tensor>& parts, int axis) {
  require(!parts.empty(), "stack", "nothing to join");
  const Shape& shape = parts[0].shape();
  axis = checked_axis("stack", axis, shape.rank() + 1, shape);
  std::vector<Tensor> raised;
  for (const Tensor& part : parts) {
    require(part.shape() == shape, "stack", "shapes ", shape, " and ", part.shape(), " differ");
    raised.push_back(unsqueeze(part, axis));
  }
  return concat(raised, axis);
}

Tensor squeeze(const Tensor& x, int axis) {
  axis = checked_axis("squeeze", axis, x.rank(), x.shape());
  require(x.shape()[axis] == 1, "squeeze", "axis ", axis, " of shape ", x.shape(), " is not of size 1");
  std::vector<int64_t> sizes(x.shape().begin(), x.shape().end());
  sizes.erase(sizes.begin() + axis);
  return reshape(x, sizes);
}

Tensor unsqueeze(const Tensor& x, int axis) {
  axis = checked_axis("unsqueeze", axis, x.rank() + 1, x.shape());
  std::vector<int64_t> sizes(x.shape().begin(), x.shape().end());
  sizes.insert(sizes.begin() + axis, 1);
  return reshape(x, sizes);
}

Tensor expand(const Tensor& x, const Shape& shape) {
  Tensor y = mul(x, ones(shape));  // its gradient is then summed over the copies, as broadcasting does
  require(y.shape() == shape, "expand", x.shape(), " does not stretch to ", shape);
  return y;
}

std::vector<Tensor> split(const Tensor& x, int64_t size, int axis) {
  axis = checked_axis("split", axis, x.rank(), x.shape());
  require(size > 0, "split", "pieces of size ", size);
  std::vector<Tensor> pieces;
  const int64_t length = x.shape()[axis];
  for (int64_t at = 0; at < length; at += size) pieces.push_back(slice(x, axis, at, std::min(at + size, length)));
  return pieces;
}

std::vector<Tensor> chunk(const Tensor& x, int64_t count, int axis) {
  require(count > 0, "chunk", "into ", count, " pieces");
  const int64_t length = x.shape()[checked_axis("chunk", axis, x.rank(), x.shape())];
  return split(x, std::max<int64_t>(1, (length + count - 1) / count), axis);
}

std::vector<Tensor> unbind(const Tensor& x, int axis) {
  std::vector<Tensor> pieces = split(x, 1, axis);
  for (Tensor& piece : pieces) piece = squeeze(piece, axis);
  return pieces;
}

Tensor flip(const Tensor& x, const Axes& axes) {
  Tensor y = x;
  for (int axis : axes) {
    std::vector<int32_t> order(x.dim(axis));
    std::iota(order.rbegin(), order.rend(), 0);
    y = index_select(y, axis, order);
  }
  return y;
}

namespace {
// What stays of the last two axes: below or on a diagonal, or above or on it.
Tensor triangle(const char* op, const Tensor& x, int64_t diagonal, bool lower) {
  require(x.rank() >= 2, op, x.shape(), " is not a matrix, nor several");
  const int64_t rows = x.dim(-2), columns = x.dim(-1);
  Tensor gone(Shape{rows, columns});
  for (int64_t i = 0; i < rows * columns; ++i) {
    const int64_t above = i % columns - i / columns - diagonal;
    gone.data()[i] = (lower ? above > 0 : above < 0) ? 1 : 0;
  }
  return masked_fill(x, gone, 0);
}
}  // namespace
Tensor tril(const Tensor& x, int64_t diagonal) { return triangle("tril", x, diagonal, true); }
Tensor triu(const Tensor& x, int64_t diagonal) { return triangle("triu", x, diagonal, false); }

Tensor pad(const Tensor& x, const std::vector<int64_t>& widths, Scalar value) {
  require(widths.size() % 2 == 0 && widths.size() <= 2 * static_cast<size_t>(x.rank()), "pad", widths.size(),
          " widths for shape ", x.shape(), ": two are needed for each axis, the last axis first");
  Tensor y = x;
  for (size_t i = 0; i < widths.size(); i += 2) {
    const int axis = x.rank() - 1 - static_cast<int>(i / 2);
    const auto border = [&](int64_t width) {
      require(width >= 0, "pad", "a width of ", width);
      Shape shape = y.shape();
      shape[axis] = width;
      return full(shape, value);
    };
    if (widths[i] || widths[i + 1]) y = concat({border(widths[i]), y, border(widths[i + 1])}, axis);
  }
  return y;
}

}  // namespace difftensor::inline DT_PRECISION
