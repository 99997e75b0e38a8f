// Arithmetic, element by element. Operands of different shapes broadcast (core/ops/broadcast.h).
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "core/kernels/math.h"
#include "core/ops.h"
#include "core/ops/broadcast.h"
#include "core/ops/unary.h"

namespace difftensor::inline DT_PRECISION {
namespace {

// A derivative of 1, as a sum has. It is a type, so that `binary` sees at compile time that the gradient passes on
// unchanged. A residual connection is such a sum: this saves a copy of the gradient in every layer.
struct One {};
template <class Derivative>
constexpr bool is_one = std::is_same_v<Derivative, One>;

// What backward keeps of an operand: its values, but nothing if no derivative needs them.
template <class Da, class Db>
Storage values(const Tensor& operand) {
  return is_one<Da> && is_one<Db> ? Storage() : operand.storage();
}

// c = f(a, b) for operands of one shape. `da(dc, a, b)` and `db(dc, a, b)` are dc times the partial
// derivatives dc/da and dc/db.
template <class F, class Da, class Db>
Tensor same_shape(const char* op, const Tensor& a, const Tensor& b, F f, Da da, Db db,
                  std::initializer_list<Read> reads) {
  Tensor out(a.shape());
  parallel_for(out.numel(), [a = a.data(), b = b.data(), c = out.data(), f](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) c[i] = f(a[i], b[i]);
  });
  // da += dc dc/da,  db += dc dc/db
  return record(
      op, out, {a, b},
      [a = values<Da, Db>(a), b = values<Da, Db>(b), da, db](const Gradients& g) {
        const auto add = [&]<class Derivative>(int k, Derivative derivative) {
          if constexpr (is_one<Derivative>)
            g.add_output_gradient(k);
          else
            g.add(k, [=, dc = g.out, a = a.data(), b = b.data()](int64_t i) { return derivative(dc[i], a[i], b[i]); });
        };
        add(0, da);
        add(1, db);
      },
      reads);
}

// The same for operands that broadcast.
template <class F, class Da, class Db>
Tensor stretched(const char* op, const Tensor& a, const Tensor& b, F f, Da da, Db db,
                 std::initializer_list<Read> reads) {
  const Broadcast shape(op, {a.shape(), b.shape()});
  Tensor out(shape.shape);
  shape.map(a.data(), b.data(), out.data(), [f](Scalar a, Scalar b, int64_t) { return f(a, b); });
  // da += dc dc/da,  db += dc dc/db, each summed over the axes along which its operand was stretched
  return record(
      op, out, {a, b},
      [a = values<Da, Db>(a), b = values<Da, Db>(b), shape, da, db](const Gradients& g) {
        const auto add = [&]<class Derivative>(int k, Derivative derivative) {
          if (!g.wants(k)) return;
          if constexpr (is_one<Derivative>) {
            unbroadcast(shape, k, g.out, g.buffer(k));
          } else {
            Storage full(shape.shape.numel());
            shape.map(a.data(), b.data(), full.data(),
                      [=, dc = g.out](Scalar a, Scalar b, int64_t i) { return derivative(dc[i], a, b); });
            unbroadcast(shape, k, full.data(), g.buffer(k));
          }
        };
        add(0, da);
        add(1, db);
      },
      reads);
}

// c = f(a, b), the general case.
template <class F, class Da, class Db>
Tensor binary(const char* op, const Tensor& a, const Tensor& b, F f, Da da, Db db, std::initializer_list<Read> reads) {
  return a.shape() == b.shape() ? same_shape(op, a, b, f, da, db, reads) : stretched(op, a, b, f, da, db, reads);
}

// d/da a^b = b a^(b - 1), and 0 where b = 0: a^0 is 1 for every a, also for 0, where the formula has 0 times infinity.
Scalar pow_slope(Scalar a, Scalar b) { return b == 0 ? Scalar{0} : b * std::pow(a, b - 1); }

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) {
  return binary("add", a, b, [](Scalar a, Scalar b) { return a + b; }, One(), One(), {});
}

Tensor sub(const Tensor& a, const Tensor& b) {
  return binary(
      "sub", a, b, [](Scalar a, Scalar b) { return a - b; }, One(), [](Scalar dc, Scalar, Scalar) { return -dc; }, {});
}

Tensor mul(const Tensor& a, const Tensor& b) {
  return binary(
      "mul", a, b, [](Scalar a, Scalar b) { return a * b; }, [](Scalar dc, Scalar, Scalar b) { return dc * b; },
      [](Scalar dc, Scalar a, Scalar) { return dc * a; }, {{a, b.needs_grad()}, {b, a.needs_grad()}});
}

Tensor div(const Tensor& a, const Tensor& b) {
  return binary(
      "div", a, b, [](Scalar a, Scalar b) { return a / b; }, [](Scalar dc, Scalar, Scalar b) { return dc / b; },
      [](Scalar dc, Scalar a, Scalar b) { return -dc * (a / b / b); }, {{a, b.needs_grad()}, {b}});
}

Tensor pow(const Tensor& a, const Tensor& b) {
  return binary(
      "pow", a, b, [](Scalar a, Scalar b) { return std::pow(a, b); },
      [](Scalar dc, Scalar a, Scalar b) { return dc * pow_slope(a, b); },
      [](Scalar dc, Scalar a, Scalar b) {
        return a == 0 && b >= 0 ? dc * 0 : dc * std::pow(a, b) * std::log(a);  // a^b log a goes to 0 with a
      },
      {{a}, {b}});
}

Tensor maximum(const Tensor& a, const Tensor& b) {
  // Where one is NaN, so is the maximum, and both shares: a NaN in a gradient says where to look.
  auto share = [](Scalar a, Scalar b) {
    return a > b ? Scalar{1} : a < b ? Scalar{0} : a == b ? Scalar(0.5) : std::numeric_limits<Scalar>::quiet_NaN();
  };
  return binary(
      "maximum", a, b, [](Scalar a, Scalar b) { return a > b || std::isnan(a) ? a : b; },
      [share](Scalar dc, Scalar a, Scalar b) { return dc * share(a, b); },
      [share](Scalar dc, Scalar a, Scalar b) { return dc * share(b, a); }, {{a}, {b}});
}

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  Broadcast shape("where", {a.shape(), b.shape(), condition.shape()});
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
  return record("where", out, {a, b},
                [condition = condition.storage(), shape, each](const Gradients& g) {
                  for (int k : {0, 1}) {
                    if (!g.wants(k)) continue;
                    Storage full(shape.shape.numel());
                    each(condition.data(),
                         [&](int64_t i, int64_t, int64_t, bool c) { full.data()[i] = c == (k == 0) ? g.out[i] : 0; });
                    unbroadcast(shape, k, full.data(), g.buffer(k));
                  }
                },
                {{condition}});
}

Tensor masked_fill(const Tensor& x, const Tensor& mask, Scalar value) {
  Broadcast shape("masked_fill", {x.shape(), mask.shape()});
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
  return record("masked_fill", out, {x},
                [mask = mask.storage(), each](const Gradients& g) {
                  Scalar* dx = g.buffer(0);
                  each(mask.data(), [dx, dy = g.out](int64_t i, bool masked) { dx[i] += masked ? 0 : dy[i]; });
                },
                {{mask}});
}

Tensor add(const Tensor& a, Scalar b) {
  return unary(
      "add", a, [b](Scalar x) { return x + b; }, [](Scalar dy, Scalar, Scalar) { return dy; }, neither);
}
Tensor mul(const Tensor& a, Scalar b) {
  return unary(
      "mul", a, [b](Scalar x) { return x * b; }, [b](Scalar dy, Scalar, Scalar) { return dy * b; }, neither);
}
Tensor div(const Tensor& a, Scalar b) {
  return unary(
      "div", a, [b](Scalar x) { return x / b; }, [b](Scalar dy, Scalar, Scalar) { return dy / b; }, neither);
}
Tensor div(Scalar a, const Tensor& b) {
  return unary(
      "div", b, [a](Scalar x) { return a / x; }, [](Scalar dy, Scalar x, Scalar y) { return -dy * (y / x); });
}
Tensor pow(const Tensor& a, Scalar exponent) {
  return unary(
      "pow", a, [exponent](Scalar x) { return std::pow(x, exponent); },
      [exponent](Scalar dy, Scalar x, Scalar) { return dy * pow_slope(x, exponent); }, only_x);
}
Tensor neg(const Tensor& x) { return mul(x, -1); }
Tensor exp(const Tensor& x) {
  return unary(
      "exp", x, [](Scalar x) { return kernels::exp(x); }, [](Scalar dy, Scalar, Scalar y) { return dy * y; }, only_y);
}
Tensor log(const Tensor& x) {
  return unary(
      "log", x, [](Scalar x) { return std::log(x); }, [](Scalar dy, Scalar x, Scalar) { return dy / x; }, only_x);
}
Tensor log1p(const Tensor& x) {
  return unary(
      "log1p", x, [](Scalar x) { return std::log1p(x); }, [](Scalar dy, Scalar x, Scalar) { return dy / (1 + x); },
      only_x);
}
Tensor sqrt(const Tensor& x) {
  return unary(
      "sqrt", x, [](Scalar x) { return std::sqrt(x); }, [](Scalar dy, Scalar, Scalar y) { return dy / (2 * y); },
      only_y);
}

}  // namespace difftensor::inline DT_PRECISION
