// Ops that move elements without changing them.
#include <numeric>

#include "core/ops.h"

namespace difftensor::inline DT_PRECISION {
namespace {
int checked_axis(const char* op, int axis, int rank, const Shape& shape) {
  int i = axis < 0 ? axis + rank : axis;
  require(i >= 0 && i < rank, op, "no axis ", axis, " in shape ", shape);
  return i;
}
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
  std::vector<int> axes(x.rank());
  std::iota(axes.begin(), axes.end(), 0);
  std::swap(axes[checked_axis("transpose", axis1, x.rank(), x.shape())],
            axes[checked_axis("transpose", axis2, x.rank(), x.shape())]);
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
    total += part.shape()[axis];
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
                  int64_t at = 0;
                  for (size_t part = 0; part < takes.size(); at += takes[part++]) {
                    if (!g.wants(part)) continue;
                    Scalar* dx = g.buffer(part);
                    for (int64_t i = 0; i < outer; ++i)
                      for (int64_t j = 0; j < takes[part]; ++j) dx[i * takes[part] + j] += g.out[i * width + at + j];
                  }
                },
                {});
}

Tensor stack(const std::vector<Tensor>& parts, int axis) {
  require(!parts.empty(), "stack", "nothing to join");
  const Shape& shape = parts[0].shape();
  axis = checked_axis("stack", axis, shape.rank() + 1, shape);
  std::vector<int64_t> sizes(shape.begin(), shape.end());
  sizes.insert(sizes.begin() + axis, 1);
  std::vector<Tensor> raised;
  for (const Tensor& part : parts) {
    require(part.shape() == shape, "stack", "shapes ", shape, " and ", part.shape(), " differ");
    raised.push_back(reshape(part, sizes));
  }
  return concat(raised, axis);
}

Tensor gather_rows(const Tensor& x, const std::vector<int32_t>& index) {
  require(x.rank() >= 1, "gather_rows", "a scalar has no rows");
  const int64_t rows = x.shape()[0], width = product(x.shape(), 1, x.rank());
  Shape shape = x.shape();
  shape[0] = static_cast<int64_t>(index.size());
  Tensor out(shape);
  for (size_t i = 0; i < index.size(); ++i)
    require(index[i] >= 0 && index[i] < rows, "gather_rows", "row ", index[i], " (number ", i, ") of shape ",
            x.shape());
  parallel_for(shape[0], 64, [&, y = out.data()](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) std::copy_n(x.data() + index[i] * width, width, y + i * width);
  });
  // dx[index[i]] += dy[i]. Rows may repeat, so threads share out the columns: each element is summed in the order of i.
  return record("gather_rows", out, {x},
                [index, width](const Gradients& g) {
                  Scalar* dx = g.buffer(0);
                  parallel_for(width, 64, [&](int64_t begin, int64_t end) {
                    for (size_t i = 0; i < index.size(); ++i) {
                      Scalar* to = dx + index[i] * width;
                      const Scalar* from = g.out + i * width;
#pragma omp simd
                      for (int64_t j = begin; j < end; ++j) to[j] += from[j];
                    }
                  });
                },
                {});
}

Tensor embedding(const Tensor& weight, const std::vector<int32_t>& ids) {
  require(weight.rank() == 2, "embedding", "the weight must be (vocabulary, width), not ", weight.shape());
  for (size_t i = 0; i < ids.size(); ++i)
    require(ids[i] >= 0 && ids[i] < weight.shape()[0], "embedding", "id ", ids[i], " of token ", i,
            " is outside the vocabulary of ", weight.shape()[0]);
  return gather_rows(weight, ids);
}

}  // namespace difftensor::inline DT_PRECISION
