#pragma once
// Loops over arrays, for the definitions.
#include "tests/property.h"

namespace property {

/// The number of an axis, counted from the front.
inline int positive(int axis, int rank) { return axis < 0 ? axis + rank : axis; }
inline int an_axis(Draw& d, int rank) { return static_cast<int>(d.between(-rank, rank - 1)); }
inline Shape with(Shape shape, int axis, int64_t size) {
  shape[axis] = size;
  return shape;
}
inline Shape without(const Shape& shape, int axis) {
  Shape out;
  for (int i = 0; i < shape.rank(); ++i)
    if (i != axis) out.push_back(shape[i]);
  return out;
}
inline Array absolute(Array x) {
  for (double& v : x.v) v = std::abs(v);
  return x;
}
inline Arrays absolute(Arrays in) {
  for (Array& x : in) x = absolute(x);
  return in;
}

/// Where the element `index` of a larger array is in one of this shape, which is stretched to it: aligned at the last
/// axis, and an axis of size 1 has its only element everywhere.
inline int64_t offset(const Shape& shape, const Shape& index) {
  int64_t at = 0;
  for (int i = 0; i < shape.rank(); ++i)
    at = at * shape[i] + (shape[i] == 1 ? 0 : index[index.rank() - shape.rank() + i]);
  return at;
}

/// f(index of an element, its number) for all elements, in order.
template <class F>
void each(const Shape& shape, F f) {
  Shape index = shape;
  for (int64_t at = 0, n = shape.numel(); at < n; ++at) {
    for (int64_t rest = at, axis = shape.rank() - 1; axis >= 0; --axis) {
      index[static_cast<int>(axis)] = rest % shape[static_cast<int>(axis)];
      rest /= shape[static_cast<int>(axis)];
    }
    f(index, at);
  }
}

/// The array whose element `index` is f(index).
template <class F>
Array fill(const Shape& shape, F f) {
  Array out(shape);
  each(shape, [&](const Shape& index, int64_t at) { out.v[at] = f(index); });
  return out;
}

}  // namespace property
