// Ops that work element by element, with broadcasting.
#include <cmath>
#include <utility>
#include <vector>

#include "core/kernels/math.h"
#include "core/ops.h"

namespace difftensor::inline DT_PRECISION {
namespace {

// y = f(x). `slope(x, y)` is dy/dx.
template <class F, class Slope>
Tensor unary(const char* op, const Tensor& x, F f, Slope slope) {
  Tensor out(x.shape());
  const Scalar* in = x.data();
  Scalar* y = out.data();
  parallel_for(x.numel(), [=](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) y[i] = f(in[i]);
  });
  // dx += dy f'(x)
  return record(op, out, {x}, [x = x.storage(), y = out.storage(), slope](const Gradients& g) {
    g.add(0, [dy = g.out, x = x.data(), y = y.data(), slope](int64_t i) { return dy[i] * slope(x[i], y[i]); });
  });
}

// How the elements of two or three broadcast operands meet: the result is rows of `inner` elements, and operand k
// starts row r at offset(k, r) and then stands still (stride 0) or moves along (stride 1).
struct Broadcast {
  Shape shape;
  int64_t inner = 1;
  int64_t strides[3][Shape::max_rank] = {};  // of operand k along each axis of `shape`, 0 where it is stretched

  Broadcast(const char* op, std::initializer_list<std::reference_wrapper<const Tensor>> operands) {
    int rank = 0;
    for (const Tensor& t : operands) rank = std::max(rank, t.rank());
    for (int axis = 0; axis < rank; ++axis) {
      int64_t size = 1;
      for (const Tensor& t : operands) {
        int own = axis - (rank - t.rank());
        int64_t dim = own < 0 ? 1 : t.shape()[own];
        if (dim != 1 && size == 1) size = dim;
        if (dim != 1 && dim != size) fail(op, operands, size, dim, axis);
      }
      shape.push_back(size);
    }
    int k = 0;
    for (const Tensor& t : operands) {
      int64_t stride = 1;
      for (int own = t.rank() - 1; own >= 0; --own) {
        if (t.shape()[own] != 1) strides[k][own + rank - t.rank()] = stride;
        stride *= t.shape()[own];
      }
      ++k;
    }
    if (rank > 0) inner = shape.back();
  }
  [[noreturn]] static void fail(const char* op, std::initializer_list<std::reference_wrapper<const Tensor>> operands,
                                int64_t size, int64_t dim, int axis) {
    std::ostringstream text;
    text << op << ": shapes";
    const char* between = " ";
    for (const Tensor& t : operands) text << std::exchange(between, " and ") << t.shape();
    text << " do not broadcast: sizes " << size << " and " << dim << " at axis " << axis;
    throw std::invalid_argument(text.str());
  }
  int64_t offset(int k, int64_t row) const {
    int64_t at = 0;
    for (int axis = shape.rank() - 2; axis >= 0; --axis) {
      at += row % shape[axis] * strides[k][axis];
      row /= shape[axis];
    }
    return at;
  }
  int64_t stride(int k) const { return shape.rank() ? strides[k][shape.rank() - 1] : 0; }
  // Calls f(k-th operand's offset and stride of each row...) in parallel over rows.
  template <class F>
  void each_row(F f) const {
    int64_t rows = inner ? shape.numel() / inner : 0;
    parallel_for(rows, std::max<int64_t>(1, 8192 / std::max<int64_t>(1, inner)), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) f(row);
    });
  }
};

// into += the gradient `full`, which has the broadcast shape, summed over the axes along which operand k was stretched.
// Sums run in one fixed order, and in double: a float sum of ones stops growing at 2^24.
void unbroadcast(const Broadcast& shape, int k, const Scalar* full, Scalar* into) {
  const int64_t numel = shape.shape.numel(), rows = shape.inner ? numel / shape.inner : 0;
  int64_t size = 1;  // of operand k
  for (int axis = 0; axis < shape.shape.rank(); ++axis)
    if (shape.strides[k][axis]) size *= shape.shape[axis];
  if (size == numel) {  // not stretched
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) into[i] += full[i];
    return;
  }
  std::vector<double> totals(size, 0);
  for (int64_t row = 0; row < rows; ++row, full += shape.inner) {
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

// c = f(a, b) with broadcasting. `da(a, b)` and `db(a, b)` are the partial derivatives.
template <class F, class Da, class Db>
Tensor binary(const char* op, const Tensor& a, const Tensor& b, F f, Da da, Db db) {
  if (a.shape() == b.shape()) {
    Tensor out(a.shape());
    parallel_for(out.numel(), [a = a.data(), b = b.data(), c = out.data(), f](int64_t begin, int64_t end) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) c[i] = f(a[i], b[i]);
    });
    return record(op, out, {a, b}, [a = a.storage(), b = b.storage(), da, db](const Gradients& g) {
      g.add(0, [da, dc = g.out, a = a.data(), b = b.data()](int64_t i) { return dc[i] * da(a[i], b[i]); });
      g.add(1, [db, dc = g.out, a = a.data(), b = b.data()](int64_t i) { return dc[i] * db(a[i], b[i]); });
    });
  }
  Broadcast shape(op, {a, b});
  // c = f(a, b), row by row; used forward for the result and backward for each partial derivative.
  auto map = [shape](const Scalar* a, const Scalar* b, Scalar* c, auto f) {
    shape.each_row([&](int64_t row) {
      const Scalar *pa = a + shape.offset(0, row), *pb = b + shape.offset(1, row);
      Scalar* pc = c + row * shape.inner;
      int64_t sa = shape.stride(0), sb = shape.stride(1);
      if (sa && sb) {
#pragma omp simd
        for (int64_t i = 0; i < shape.inner; ++i) pc[i] = f(pa[i], pb[i], pc[i]);
      } else {
        for (int64_t i = 0; i < shape.inner; ++i) pc[i] = f(pa[i * sa], pb[i * sb], pc[i]);
      }
    });
  };
  Tensor out(shape.shape);
  map(a.data(), b.data(), out.data(), [f](Scalar x, Scalar y, Scalar) { return f(x, y); });
  return record(op, out, {a, b}, [a = a.storage(), b = b.storage(), shape, map, da, db](const Gradients& g) {
    Storage full(shape.shape.numel());
    auto backward = [&](int k, auto slope) {
      if (!g.wants(k)) return;
      std::copy_n(g.out, full.size(), full.data());
      map(a.data(), b.data(), full.data(), [slope](Scalar x, Scalar y, Scalar dc) { return dc * slope(x, y); });
      unbroadcast(shape, k, full.data(), g.in(k));
    };
    backward(0, da);
    backward(1, db);
  });
}

// d/da a^b = b a^(b - 1), and 0 where b = 0: a^0 is 1 for every a, also for 0, where the formula has 0 times infinity.
Scalar pow_slope(Scalar a, Scalar b) { return b == 0 ? Scalar{0} : b * std::pow(a, b - 1); }

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) {
  if (a.shape() == b.shape()) {  // the residual connection: the gradient passes to both unchanged, without a copy
    Tensor out(a.shape());
    parallel_for(out.numel(), [a = a.data(), b = b.data(), c = out.data()](int64_t begin, int64_t end) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) c[i] = a[i] + b[i];
    });
    return record("add", out, {a, b}, [](const Gradients& g) {
      g.pass(0);
      g.pass(1);
    });
  }
  return binary(
      "add", a, b, [](Scalar a, Scalar b) { return a + b; }, [](Scalar, Scalar) { return Scalar{1}; },
      [](Scalar, Scalar) { return Scalar{1}; });
}

Tensor sub(const Tensor& a, const Tensor& b) {
  return binary(
      "sub", a, b, [](Scalar a, Scalar b) { return a - b; }, [](Scalar, Scalar) { return Scalar{1}; },
      [](Scalar, Scalar) { return Scalar{-1}; });
}

Tensor mul(const Tensor& a, const Tensor& b) {
  return binary(
      "mul", a, b, [](Scalar a, Scalar b) { return a * b; }, [](Scalar, Scalar b) { return b; },
      [](Scalar a, Scalar) { return a; });
}

Tensor div(const Tensor& a, const Tensor& b) {
  return binary(
      "div", a, b, [](Scalar a, Scalar b) { return a / b; }, [](Scalar, Scalar b) { return 1 / b; },
      [](Scalar a, Scalar b) { return -(a / b) / b; });
}

Tensor pow(const Tensor& a, const Tensor& b) {
  return binary(
      "pow", a, b, [](Scalar a, Scalar b) { return std::pow(a, b); },
      [](Scalar a, Scalar b) { return pow_slope(a, b); },
      [](Scalar a, Scalar b) { return a == 0 ? Scalar{0} : std::pow(a, b) * std::log(a); });
}

Tensor maximum(const Tensor& a, const Tensor& b) {
  auto share = [](Scalar a, Scalar b) { return a > b ? Scalar{1} : a == b ? Scalar(0.5) : Scalar{0}; };
  return binary(
      "maximum", a, b, [](Scalar a, Scalar b) { return a > b || std::isnan(a) ? a : b; }, share,
      [share](Scalar a, Scalar b) { return share(b, a); });
}

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  Broadcast shape("where", {a, b, condition});
  Tensor out(shape.shape);
  auto each = [shape](const Scalar* condition, auto f) {  // f(element, offset in a, offset in b, condition)
    shape.each_row([&](int64_t row) {
      int64_t at = row * shape.inner, a = shape.offset(0, row), b = shape.offset(1, row), c = shape.offset(2, row);
      for (int64_t i = 0; i < shape.inner; ++i)
        f(at + i, a + i * shape.stride(0), b + i * shape.stride(1), condition[c + i * shape.stride(2)] != 0);
    });
  };
  each(condition.data(), [x = a.data(), y = b.data(), z = out.data()](int64_t i, int64_t a, int64_t b, bool c) {
    z[i] = c ? x[a] : y[b];
  });
  // da += dz where the condition holds, db += dz elsewhere
  return record("where", out, {a, b}, [condition = condition.storage(), shape, each](const Gradients& g) {
    for (int k : {0, 1}) {
      if (!g.wants(k)) continue;
      Storage full(shape.shape.numel());
      each(condition.data(),
           [&](int64_t i, int64_t, int64_t, bool c) { full.data()[i] = c == (k == 0) ? g.out[i] : 0; });
      unbroadcast(shape, k, full.data(), g.in(k));
    }
  });
}

Tensor masked_fill(const Tensor& x, const Tensor& mask, Scalar value) {
  Broadcast shape("masked_fill", {x, mask});
  require(shape.shape == x.shape(), "masked_fill", "mask ", mask.shape(), " does not broadcast to ", x.shape());
  Tensor out(x.shape());
  auto each = [shape](const Scalar* mask, auto f) {  // f(element, masked)
    shape.each_row([&](int64_t row) {
      const Scalar* m = mask + shape.offset(1, row);
      for (int64_t i = 0; i < shape.inner; ++i) f(row * shape.inner + i, m[i * shape.stride(1)] != 0);
    });
  };
  each(mask.data(), [x = x.data(), y = out.data(), value](int64_t i, bool masked) { y[i] = masked ? value : x[i]; });
  // dx += dy where not masked
  return record("masked_fill", out, {x}, [mask = mask.storage(), each](const Gradients& g) {
    Scalar* dx = g.in(0);
    each(mask.data(), [dx, dy = g.out](int64_t i, bool masked) { dx[i] += masked ? 0 : dy[i]; });
  });
}

Tensor add(const Tensor& a, Scalar b) {
  return unary(
      "add", a, [b](Scalar x) { return x + b; }, [](Scalar, Scalar) { return Scalar{1}; });
}
Tensor mul(const Tensor& a, Scalar b) {
  return unary(
      "mul", a, [b](Scalar x) { return x * b; }, [b](Scalar, Scalar) { return b; });
}
Tensor pow(const Tensor& a, Scalar exponent) {
  return unary(
      "pow", a, [exponent](Scalar x) { return std::pow(x, exponent); },
      [exponent](Scalar x, Scalar) { return pow_slope(x, exponent); });
}
Tensor neg(const Tensor& x) { return mul(x, -1); }
Tensor exp(const Tensor& x) {
  return unary(
      "exp", x, [](Scalar x) { return kernels::exp(x); }, [](Scalar, Scalar y) { return y; });
}
Tensor log(const Tensor& x) {
  return unary(
      "log", x, [](Scalar x) { return std::log(x); }, [](Scalar x, Scalar) { return 1 / x; });
}
Tensor sqrt(const Tensor& x) {
  return unary(
      "sqrt", x, [](Scalar x) { return std::sqrt(x); }, [](Scalar, Scalar y) { return Scalar(0.5) / y; });
}
Tensor tanh(const Tensor& x) {
  return unary(
      "tanh", x, [](Scalar x) { return std::tanh(x); }, [](Scalar, Scalar y) { return 1 - y * y; });
}
Tensor sigmoid(const Tensor& x) {
  return unary(
      "sigmoid", x, [](Scalar x) { return kernels::sigmoid(x); }, [](Scalar, Scalar y) { return y * (1 - y); });
}
Tensor relu(const Tensor& x) {
  return unary(
      "relu", x, [](Scalar x) { return x < 0 ? Scalar{0} : x; },
      [](Scalar x, Scalar) { return x > 0 ? Scalar{1} : Scalar{0}; });
}
Tensor gelu(const Tensor& x) {
  // d/dx x Phi(x) = Phi(x) + x phi(x), with phi the normal density
  auto cdf = [](Scalar x) { return Scalar(0.5) * (1 + std::erf(x * Scalar(0.70710678118654752440))); };
  return unary(
      "gelu", x, [cdf](Scalar x) { return x * cdf(x); },
      [cdf](Scalar x, Scalar) { return cdf(x) + x * Scalar(0.39894228040143267794) * std::exp(Scalar(-0.5) * x * x); });
}
Tensor silu(const Tensor& x) {
  // d/dx x s(x) = s + x s (1 - s), with s = sigmoid(x)
  return unary(
      "silu", x, [](Scalar x) { return x * kernels::sigmoid(x); },
      [](Scalar x, Scalar) {
        Scalar s = kernels::sigmoid(x);
        return s * (1 + x * (1 - s));
      });
}

Tensor swiglu(const Tensor& gate, const Tensor& up) {
  require(gate.shape() == up.shape(), "swiglu", "gate ", gate.shape(), " and up ", up.shape(), " must have one shape");
  Tensor out(gate.shape());
  parallel_for(out.numel(), [x = gate.data(), u = up.data(), y = out.data()](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) y[i] = x[i] * kernels::sigmoid(x[i]) * u[i];
  });
  // With s = sigmoid(gate): out = gate s up,  dup = dy gate s,  dgate = dy up s (1 + gate (1 - s)). The first leaves s
  // for the second.
  return record("swiglu", out, {gate, up}, [x = gate.storage(), u = up.storage()](const Gradients& g) {
    Storage sigmoid(x.size());
    parallel_for(x.size(), [x = x.data(), s = sigmoid.data()](int64_t begin, int64_t end) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) s[i] = kernels::sigmoid(x[i]);
    });
    g.add(1, [dy = g.out, x = x.data(), s = sigmoid.data()](int64_t i) { return dy[i] * x[i] * s[i]; });
    g.add(0, [dy = g.out, x = x.data(), u = u.data(), s = sigmoid.data()](int64_t i) {
      return dy[i] * u[i] * s[i] * (1 + x[i] * (1 - s[i]));
    });
  });
}

Tensor dropout(const Tensor& x, Scalar p) {
  require(p >= 0 && p < 1, "dropout", "probability ", p, " is not in [0, 1)");
  if (p == 0) return x;
  // The mask is not stored: it is a function of the generator's state, which the closure keeps, and is drawn again.
  const Random random = default_random();
  default_random().skip(x.numel());
  auto kept = [random, p, scale = 1 / (1 - p)](int64_t i) {
    return Random::to_uniform(random.bits_at(i)) < p ? Scalar{0} : scale;
  };
  Tensor out(x.shape());
  parallel_for(x.numel(), [kept, x = x.data(), y = out.data()](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) y[i] = kept(i) * x[i];
  });
  // dx += dy mask / (1 - p)
  return record("dropout", out, {x},
                [kept](const Gradients& g) { g.add(0, [kept, dy = g.out](int64_t i) { return kept(i) * dy[i]; }); });
}

}  // namespace difftensor::inline DT_PRECISION
