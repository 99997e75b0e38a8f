#pragma once
// Broadcasting: how two or three operands of different shapes meet, and how a gradient finds back to the smaller shape.
//
//     a  (2, 3, 1)      read as  a[i][j][0]      aligned at the last axis; an axis of size 1, or a missing
//     b     (3, 4)               b   [j][k]      one, is stretched: the same elements are read again,
//     c  (2, 3, 4)               c[i][j][k]      which is to say with a stride of 0
//
// An element that was read several times gets the sum of what its copies get. That is `unbroadcast`.
#include <initializer_list>

#include "core/autograd.h"

namespace difftensor::inline DT_PRECISION {

/// The result's shape, and where in each operand a row of the result (along its last axis) is read from.
struct Broadcast {
  Shape shape;
  int64_t inner = 1;  // elements in a row

  /// Throws std::invalid_argument unless the operands broadcast, naming the op and their shapes, or those that the
  /// caller calls them by.
  Broadcast(const char* op, std::initializer_list<Shape> operands, std::initializer_list<Shape> named = {});

  int64_t rows() const { return inner ? shape.numel() / inner : 0; }
  /// The place in operand k where `row` begins.
  int64_t offset(int k, int64_t row) const {
    int64_t at = 0;
    for (int axis = shape.rank() - 2; axis >= 0; --axis) {
      at += row % shape[axis] * strides[k][axis];
      row /= shape[axis];
    }
    return at;
  }
  /// The step in operand k from one element of a row to the next: 1, or 0 if it is stretched.
  int64_t stride(int k) const { return shape.rank() ? strides[k][shape.rank() - 1] : 0; }

  /// Calls f(row) for every row, in parallel.
  template <class F>
  void each_row(F f) const {
    parallel_for(rows(), std::max<int64_t>(1, 8192 / std::max<int64_t>(1, inner)), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) f(row);
    });
  }

  /// c[i] = f(x, y, i) for every element i of the result, where x and y are what a and b, operands 0 and 1, have there.
  template <class F>
  void map(const Scalar* a, const Scalar* b, Scalar* c, F f) const {
    each_row([=, this](int64_t row) {
      const Scalar *x = a + offset(0, row), *y = b + offset(1, row);
      const int64_t first = row * inner, step_a = stride(0), step_b = stride(1);
      if (step_a && step_b) {
#pragma omp simd
        for (int64_t i = 0; i < inner; ++i) c[first + i] = f(x[i], y[i], first + i);
      } else {
        for (int64_t i = 0; i < inner; ++i) c[first + i] = f(x[i * step_a], y[i * step_b], first + i);
      }
    });
  }

  int64_t strides[3][Shape::max_rank] = {};  // of operand k along each axis of `shape`, 0 where it is stretched
};

/// into += the gradient `full`, which has the result's shape, summed over the axes along which operand k was stretched.
void unbroadcast(const Broadcast& shape, int k, const Scalar* full, Scalar* into);

}  // namespace difftensor::inline DT_PRECISION
