// Sums, means, maxima and their kin over any axes, and running sums.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/ops.h"
#include "core/ops/axes.h"

namespace difftensor::inline DT_PRECISION {
namespace {

// Which element of the result each element of x is reduced into. x is seen as rows along its last axis: row r goes to
// into(r) + i * stride for its element i, with stride 0 if the last axis is reduced.
struct Reduction {
  Shape in, out;  // out without keepdim
  Shape kept;     // out with keepdim
  int64_t strides[Shape::max_rank] = {};
  int64_t count = 1;  // elements of x per element of the result

  Reduction(const char* op, const Shape& shape, const Axes& axes) : in(shape) {
    bool reduced[Shape::max_rank] = {};
    if (axes.empty()) std::fill_n(reduced, shape.rank(), true);
    for (int axis : axes) {
      const int i = checked_axis(op, axis, shape.rank(), shape);
      require(!reduced[i], op, "axis ", axis, " is named twice");
      reduced[i] = true;
    }
    int64_t stride = 1;
    for (int i = shape.rank() - 1; i >= 0; --i)
      if (!reduced[i]) {
        strides[i] = stride;
        stride *= shape[i];
      }
    for (int i = 0; i < shape.rank(); ++i) {
      kept.push_back(reduced[i] ? 1 : shape[i]);
      if (reduced[i])
        count *= shape[i];
      else
        out.push_back(shape[i]);
    }
  }
  int64_t width() const { return in.rank() ? in.back() : 1; }
  int64_t rows() const { return width() ? in.numel() / width() : 0; }
  int64_t stride() const { return in.rank() ? strides[in.rank() - 1] : 0; }
  int64_t into(int64_t row) const {
    int64_t at = 0;
    for (int axis = in.rank() - 2; axis >= 0; --axis) {
      at += row % in[axis] * strides[axis];
      row /= in[axis];
    }
    return at;
  }
  // Calls f(index in x, index in the result) for every element of x, in order.
  template <class F>
  void each(F f) const {
    for (int64_t row = 0, n = rows(); row < n; ++row) {
      const int64_t to = into(row);
      for (int64_t i = 0; i < width(); ++i) f(row * width() + i, to + i * stride());
    }
  }
};

Tensor sum_or_mean(const char* op, const Tensor& x, const Axes& axes, bool keepdim, bool mean) {
  Reduction r(op, x.shape(), axes);
  require(!mean || r.count > 0, op, "the mean of no elements, shape ", x.shape());
  const double count = mean ? static_cast<double>(r.count) : 1;
  Tensor out(keepdim ? r.kept : r.out);
  // In double: a float sum of ones stops growing at 2^24.
  std::vector<double> totals(out.numel(), 0);
  const Scalar* from = x.data();
  for (int64_t row = 0, rows = r.rows(); row < rows; ++row, from += r.width()) {
    double* to = totals.data() + r.into(row);
    if (r.stride()) {
#pragma omp simd
      for (int64_t i = 0; i < r.width(); ++i) to[i] += static_cast<double>(from[i]);
    } else {
      double total = 0;
#pragma omp simd reduction(+ : total)
      for (int64_t i = 0; i < r.width(); ++i) total += static_cast<double>(from[i]);
      *to += total;
    }
  }
  for (int64_t o = 0; o < out.numel(); ++o) out.data()[o] = static_cast<Scalar>(totals[o] / count);
  // dx_i += dy_o / count for every i that was summed into o
  return record(op, out, {x},
                [r, count = static_cast<Scalar>(count)](const Gradients& g) {
                  r.each([dx = g.buffer(0), dy = g.out, count](int64_t i, int64_t o) { dx[i] += dy[o] / count; });
                },
                {});
}

// The variance, or its root: y = sum_i (x_i - mean)^2 / divisor, or sqrt(y).
Tensor var_or_stddev(const char* op, const Tensor& x, const Axes& axes, bool keepdim, int64_t correction, bool root) {
  Reduction r(op, x.shape(), axes);
  require(r.count > correction, op, "of ", r.count, " elements, less a correction of ", correction, ", in shape ",
          x.shape());
  const auto count = static_cast<double>(r.count), divisor = count - static_cast<double>(correction);
  Tensor out(keepdim ? r.kept : r.out);
  // Twice over x, and in double: a difference of large sums would lose what is small beside the mean.
  std::vector<double> means(out.numel(), 0), squares(out.numel(), 0);
  r.each([&, x = x.data()](int64_t i, int64_t o) { means[o] += static_cast<double>(x[i]); });
  for (double& mean : means) mean /= count;
  r.each([&, x = x.data()](int64_t i, int64_t o) { squares[o] += std::pow(static_cast<double>(x[i]) - means[o], 2); });
  // dx_i += dy 2 (x_i - mean) / divisor, for the mean's own part adds up to 0. And d sqrt(v) = dv / (2 sqrt(v)); where
  // all x are equal, that has no value: the gradient is 0, the middle of what it is on both sides.
  std::vector<double> scales(out.numel());  // what x_i - mean is divided by
  for (int64_t o = 0; o < out.numel(); ++o) {
    const double var = squares[o] / divisor, stddev = std::sqrt(var);
    out.data()[o] = static_cast<Scalar>(root ? stddev : var);
    scales[o] = !root ? divisor / 2 : var == 0 ? std::numeric_limits<double>::infinity() : divisor * stddev;
  }
  return record(op, out, {x},
                [x = x.storage(), r, means, scales](const Gradients& g) {
                  r.each([&, dx = g.buffer(0), x = x.data()](int64_t i, int64_t o) {
                    dx[i] += g.out[o] * static_cast<Scalar>((static_cast<double>(x[i]) - means[o]) / scales[o]);
                  });
                },
                {{x}});
}
}  // namespace

Tensor sum(const Tensor& x, const Axes& axes, bool keepdim) { return sum_or_mean("sum", x, axes, keepdim, false); }
Tensor mean(const Tensor& x, const Axes& axes, bool keepdim) { return sum_or_mean("mean", x, axes, keepdim, true); }

Tensor max(const Tensor& x, const Axes& axes, bool keepdim) {
  Reduction r("max", x.shape(), axes);
  require(r.count > 0, "max", "the maximum of no elements, shape ", x.shape());
  Tensor out = full(keepdim ? r.kept : r.out, -std::numeric_limits<Scalar>::infinity());
  r.each(
      [x = x.data(), y = out.data()](int64_t i, int64_t o) { y[o] = x[i] > y[o] || std::isnan(x[i]) ? x[i] : y[o]; });
  // dx_i += dy_o [x_i = y_o] / (how many attain the maximum). The maximum of a NaN is NaN, which nothing equals: the
  // quotient is 0 / 0, a NaN for all that took part.
  return record("max", out, {x},
                [x = x.storage(), y = out.storage(), r](const Gradients& g) {
                  std::vector<int64_t> ties(y.size());
                  r.each([&](int64_t i, int64_t o) { ties[o] += x.data()[i] == y.data()[o]; });
                  r.each([&, dx = g.buffer(0)](int64_t i, int64_t o) {
                    dx[i] += g.out[o] * static_cast<Scalar>(x.data()[i] == y.data()[o]) / static_cast<Scalar>(ties[o]);
                  });
                },
                {{x}, {out}});
}
Tensor min(const Tensor& x, const Axes& axes, bool keepdim) { return neg(max(neg(x), axes, keepdim)); }

Tensor var(const Tensor& x, const Axes& axes, bool keepdim, int64_t correction) {
  return var_or_stddev("var", x, axes, keepdim, correction, false);
}
Tensor stddev(const Tensor& x, const Axes& axes, bool keepdim, int64_t correction) {
  return var_or_stddev("stddev", x, axes, keepdim, correction, true);
}

Tensor norm(const Tensor& x, const Axes& axes, bool keepdim) {
  Reduction r("norm", x.shape(), axes);
  Tensor out(keepdim ? r.kept : r.out);
  std::vector<double> norms(out.numel(), 0);
  r.each([&, x = x.data()](int64_t i, int64_t o) { norms[o] += std::pow(static_cast<double>(x[i]), 2); });
  for (int64_t o = 0; o < out.numel(); ++o) out.data()[o] = static_cast<Scalar>(norms[o] = std::sqrt(norms[o]));
  // dx_i += dy x_i / y; at x = 0 the gradient is 0, the middle of what it is on all sides. y is the norm in double: as
  // a float it may be infinite, or have a digit or two left.
  return record("norm", out, {x},
                [x = x.storage(), r, norms](const Gradients& g) {
                  r.each([&, dx = g.buffer(0), x = x.data()](int64_t i, int64_t o) {
                    dx[i] += g.out[o] * static_cast<Scalar>(norms[o] == 0 ? 0 : static_cast<double>(x[i]) / norms[o]);
                  });
                },
                {{x}});
}

Tensor prod(const Tensor& x, const Axes& axes, bool keepdim) {
  Reduction r("prod", x.shape(), axes);
  Tensor out(keepdim ? r.kept : r.out);
  std::vector<double> products(out.numel(), 1);
  r.each([&, x = x.data()](int64_t i, int64_t o) { products[o] *= static_cast<double>(x[i]); });
  for (int64_t o = 0; o < out.numel(); ++o) out.data()[o] = static_cast<Scalar>(products[o]);
  // dx_i += dy (the product of all others). It is that of those before i times that of those after: y / x_i would be
  // 0 / 0 where x_i is 0.
  return record("prod", out, {x},
                [x = x.storage(), r](const Gradients& g) {
                  std::vector<double> before(x.size());
                  std::vector<int64_t> into(x.size());
                  std::vector<double> product(r.out.numel(), 1);
                  r.each([&](int64_t i, int64_t o) {
                    before[i] = product[o];
                    product[o] *= static_cast<double>(x.data()[i]);
                    into[i] = o;
                  });
                  std::vector<double> after(r.out.numel(), 1);
                  Scalar* dx = g.buffer(0);
                  for (int64_t i = x.size() - 1; i >= 0; --i) {
                    double& others = after[into[i]];
                    dx[i] += static_cast<Scalar>(static_cast<double>(g.out[into[i]]) * (before[i] * others));
                    others *= static_cast<double>(x.data()[i]);
                  }
                },
                {{x}});
}

Tensor cumsum(const Tensor& x, int axis) {
  const AxisLoop loop("cumsum", x.shape(), axis);
  Tensor out(x.shape());
  loop.each([=, x = x.data(), y = out.data()](int64_t first) {
    double total = 0;
    for (int64_t i = 0; i < loop.length; ++i) {
      total += static_cast<double>(x[first + i * loop.inner]);
      y[first + i * loop.inner] = static_cast<Scalar>(total);
    }
  });
  // x_i is in y_i and all that follow: dx_i += dy_i + dy_(i+1) + ...
  return record("cumsum", out, {x},
                [loop](const Gradients& g) {
                  loop.each([=, dx = g.buffer(0), dy = g.out](int64_t first) {
                    double total = 0;
                    for (int64_t i = loop.length - 1; i >= 0; --i) {
                      total += static_cast<double>(dy[first + i * loop.inner]);
                      dx[first + i * loop.inner] += static_cast<Scalar>(total);
                    }
                  });
                },
                {});
}

}  // namespace difftensor::inline DT_PRECISION
