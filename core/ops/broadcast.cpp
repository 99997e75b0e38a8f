#include "core/ops/broadcast.h"

#include <utility>
#include <vector>

namespace difftensor::inline DT_PRECISION {
namespace {
[[noreturn]] void fail(const char* op, std::initializer_list<Shape> operands, int64_t size, int64_t dim, int axis) {
  std::ostringstream text;
  text << op << ": shapes";
  const char* between = " ";
  for (const Shape& operand : operands) text << std::exchange(between, " and ") << operand;
  text << " do not broadcast: sizes " << size << " and " << dim << " at axis " << axis;
  throw std::invalid_argument(text.str());
}
}  // namespace

Broadcast::Broadcast(const char* op, std::initializer_list<Shape> operands, std::initializer_list<Shape> named) {
  int rank = 0;
  for (const Shape& operand : operands) rank = std::max(rank, operand.rank());
  for (int axis = 0; axis < rank; ++axis) {
    int64_t size = 1;
    for (const Shape& operand : operands) {
      const int own = axis - (rank - operand.rank());
      const int64_t dim = own < 0 ? 1 : operand[own];
      if (dim != 1 && size == 1) size = dim;
      if (dim != 1 && dim != size) fail(op, named.size() ? named : operands, size, dim, axis);
    }
    shape.push_back(size);
  }
  int k = 0;
  for (const Shape& operand : operands) {
    int64_t stride = 1;
    for (int own = operand.rank() - 1; own >= 0; --own) {
      if (operand[own] != 1) strides[k][own + rank - operand.rank()] = stride;
      stride *= operand[own];
    }
    ++k;
  }
  if (rank > 0) inner = shape.back();
}

void unbroadcast(const Broadcast& shape, int k, const Scalar* full, Scalar* into) {
  const int64_t numel = shape.shape.numel();
  int64_t size = 1;  // of operand k
  for (int axis = 0; axis < shape.shape.rank(); ++axis)
    if (shape.strides[k][axis]) size *= shape.shape[axis];
  if (size == numel) {  // not stretched
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) into[i] += full[i];
    return;
  }
  // In one fixed order, and in double: a float sum of ones stops growing at 2^24.
  std::vector<double> totals(size, 0);
  for (int64_t row = 0; row < shape.rows(); ++row, full += shape.inner) {
    double* to = totals.data() + shape.offset(k, row);
    if (shape.stride(k)) {
#pragma omp simd
      for (int64_t i = 0; i < shape.inner; ++i) to[i] += static_cast<double>(full[i]);
    } else {
      double total = 0;
#pragma omp simd reduction(+ : total)
      for (int64_t i = 0; i < shape.inner; ++i) total += static_cast<double>(full[i]);
      *to += total;
    }
  }
  for (int64_t i = 0; i < size; ++i) into[i] += static_cast<Scalar>(totals[i]);
}

}  // namespace difftensor::inline DT_PRECISION
