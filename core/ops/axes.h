#pragma once
// Naming axes, and finding the elements along one.
#include <concepts>
#include <initializer_list>
#include <vector>

#include "core/kernels/parallel.h"
#include "core/tensor.h"

namespace difftensor::inline DT_PRECISION {

/// Axes by their numbers, which may be negative. sum(x): all, sum(x, 0): one, sum(x, {0, -1}): several.
class Axes : public std::vector<int> {
 public:
  Axes() = default;
  Axes(std::vector<int> axes) : vector(std::move(axes)) {}
  Axes(std::initializer_list<int> axes) : vector(axes) {}
  Axes(std::same_as<int> auto axis) : vector{axis} {}  // no bool: that would be keepdim in the place of the axes
};

/// The axis, counted from the front; negative ones count from the end. Throws if a tensor of this rank has none.
inline int checked_axis(const char* op, int axis, int rank, const Shape& shape) {
  const int i = axis < 0 ? axis + rank : axis;
  require(i >= 0 && i < rank, op, "no axis ", axis, " in shape ", shape);
  return i;
}

/// A tensor as lines along one axis: `length` elements, `inner` apart.
struct AxisLoop {
  int axis;
  int64_t outer = 1, length, inner = 1;

  AxisLoop(const char* op, const Shape& shape, int which) : axis(checked_axis(op, which, shape.rank(), shape)) {
    length = shape[axis];
    for (int i = 0; i < axis; ++i) outer *= shape[i];
    for (int i = axis + 1; i < shape.rank(); ++i) inner *= shape[i];
  }
  /// Where the line that begins at `first` begins in a tensor that is as long as `other` along the axis, and else alike.
  int64_t same_line(int64_t first, int64_t other) const {
    return first / (length * inner) * (other * inner) + first % inner;
  }
  /// Calls f(the place of the line's first element) for every line that has one, in parallel.
  template <class F>
  void each(F f) const {
    parallel_for(length > 0 ? outer * inner : 0, std::max<int64_t>(1, 8192 / std::max<int64_t>(1, length)),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t line = begin; line < end; ++line) f(line / inner * length * inner + line % inner);
                 });
  }
};

}  // namespace difftensor::inline DT_PRECISION
