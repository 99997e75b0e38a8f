// Arithmetic, element by element. Operands of different shapes broadcast (core/ops/broadcast.h). Capitals are tensors,
// small letters their elements.
#include "core/elementwise.h"

#include <cmath>
#include <functional>
#include <limits>

#include "core/kernels/math.h"
#include "core/ops.h"

namespace difftensor::inline DT_PRECISION {
namespace {

// d/da a^b = b a^(b - 1), and 0 where b = 0: a^0 is 1 for every a, also for 0, where the formula has 0 times infinity.
Scalar pow_slope(Scalar a, Scalar b) { return b == 0 ? Scalar{0} : b * std::pow(a, b - 1); }

// -1, 0 or 1; NaN of NaN.
Scalar sign_of(Scalar x) { return x > 0 ? Scalar{1} : x < 0 ? Scalar{-1} : x; }

// 1 where a relation holds, 0 elsewhere.
template <class Relation>
Tensor compare(const char* op, const Tensor& a, const Tensor& b, Relation holds) {
  const Broadcast shape(op, {a.shape(), b.shape()});
  Tensor out(shape.shape);
  shape.map(a.data(), b.data(), out.data(),
            [holds](Scalar x, Scalar y, int64_t) { return holds(x, y) ? Scalar{1} : Scalar{0}; });
  return out;
}

}  // namespace

Tensor add(const Tensor& A, const Tensor& B) {
  return binary("add", A, B, [](Scalar a, Scalar b) { return a + b; }, One(), One(), {});
}

Tensor sub(const Tensor& A, const Tensor& B) {
  return binary(
      "sub", A, B, [](Scalar a, Scalar b) { return a - b; }, One(), [](Scalar dc, Scalar, Scalar) { return -dc; }, {});
}

Tensor mul(const Tensor& A, const Tensor& B) {
  return binary(
      "mul", A, B, [](Scalar a, Scalar b) { return a * b; }, [](Scalar dc, Scalar, Scalar b) { return dc * b; },
      [](Scalar dc, Scalar a, Scalar) { return dc * a; }, {{A, B.needs_grad()}, {B, A.needs_grad()}});
}

Tensor div(const Tensor& A, const Tensor& B) {
  return binary(
      "div", A, B, [](Scalar a, Scalar b) { return a / b; }, [](Scalar dc, Scalar, Scalar b) { return dc / b; },
      [](Scalar dc, Scalar a, Scalar b) { return -dc * (a / b / b); }, {{A, B.needs_grad()}, {B}});
}

Tensor pow(const Tensor& A, const Tensor& B) {
  return binary(
      "pow", A, B, [](Scalar a, Scalar b) { return std::pow(a, b); },
      [](Scalar dc, Scalar a, Scalar b) { return dc * pow_slope(a, b); },
      [](Scalar dc, Scalar a, Scalar b) {
        return a == 0 && b >= 0 ? dc * 0 : dc * std::pow(a, b) * std::log(a);  // a^b log a goes to 0 with a
      });
}

Tensor maximum(const Tensor& A, const Tensor& B) {
  // Where one is NaN, so is the maximum, and both shares: a NaN in a gradient says where to look.
  auto share = [](Scalar a, Scalar b) {
    return a > b ? Scalar{1} : a < b ? Scalar{0} : a == b ? Scalar(0.5) : std::numeric_limits<Scalar>::quiet_NaN();
  };
  return binary(
      "maximum", A, B, [](Scalar a, Scalar b) { return a > b || std::isnan(a) ? a : b; },
      [share](Scalar dc, Scalar a, Scalar b) { return dc * share(a, b); },
      [share](Scalar dc, Scalar a, Scalar b) { return dc * share(b, a); });
}
Tensor minimum(const Tensor& a, const Tensor& b) { return neg(maximum(neg(a), neg(b))); }

Tensor eq(const Tensor& a, const Tensor& b) { return compare("eq", a, b, std::equal_to<Scalar>()); }
Tensor ne(const Tensor& a, const Tensor& b) { return compare("ne", a, b, std::not_equal_to<Scalar>()); }
Tensor lt(const Tensor& a, const Tensor& b) { return compare("lt", a, b, std::less<Scalar>()); }
Tensor le(const Tensor& a, const Tensor& b) { return compare("le", a, b, std::less_equal<Scalar>()); }
Tensor gt(const Tensor& a, const Tensor& b) { return compare("gt", a, b, std::greater<Scalar>()); }
Tensor ge(const Tensor& a, const Tensor& b) { return compare("ge", a, b, std::greater_equal<Scalar>()); }

Tensor where(const Tensor& condition, const Tensor& A, const Tensor& B) {
  Broadcast shape("where", {A.shape(), B.shape(), condition.shape()});
  Tensor out(shape.shape);
  auto each = [shape](const Scalar* holds, auto f) {  // f(element, offset in A, offset in B, does it hold?)
    shape.each_row([&](int64_t row) {
      int64_t at = row * shape.inner, a = shape.offset(0, row), b = shape.offset(1, row), c = shape.offset(2, row);
      for (int64_t i = 0; i < shape.inner; ++i)
        f(at + i, a + i * shape.stride(0), b + i * shape.stride(1), holds[c + i * shape.stride(2)] != 0);
    });
  };
  each(condition.data(), [x = A.data(), y = B.data(), z = out.data()](int64_t i, int64_t a, int64_t b, bool holds) {
    z[i] = holds ? x[a] : y[b];
  });
  // da += dz where the condition holds, db += dz elsewhere
  return record("where", out, {A, B},
                [condition = condition.storage(), shape, each](const Gradients& g) {
                  for (int k : {0, 1}) {
                    if (!g.wants(k)) continue;
                    Storage full(shape.shape.numel());
                    each(condition.data(), [&](int64_t i, int64_t, int64_t, bool holds) {
                      full.data()[i] = holds == (k == 0) ? g.out[i] : 0;
                    });
                    unbroadcast(shape, k, full.data(), g.buffer(k));
                  }
                },
                {{condition}});
}

Tensor masked_fill(const Tensor& x, const Tensor& mask, Scalar value) {
  Broadcast shape("masked_fill", {x.shape(), mask.shape()});
  require(shape.shape == x.shape(), "masked_fill", "mask ", mask.shape(), " does not broadcast to ", x.shape());
  Tensor out(x.shape());
  auto each = [shape](const Scalar* masks, auto f) {  // f(element, masked)
    shape.each_row([&](int64_t row) {
      const Scalar* m = masks + shape.offset(1, row);
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

Tensor add(const Tensor& A, Scalar b) {
  return unary(
      "add", A, [b](Scalar x) { return x + b; }, [](Scalar dy, Scalar, Scalar) { return dy; }, neither);
}
Tensor mul(const Tensor& A, Scalar b) {
  return unary(
      "mul", A, [b](Scalar x) { return x * b; }, [b](Scalar dy, Scalar, Scalar) { return dy * b; }, neither);
}
Tensor div(const Tensor& A, Scalar b) {
  return unary(
      "div", A, [b](Scalar x) { return x / b; }, [b](Scalar dy, Scalar, Scalar) { return dy / b; }, neither);
}
Tensor div(Scalar a, const Tensor& B) {
  return unary(
      "div", B, [a](Scalar x) { return a / x; }, [](Scalar dy, Scalar x, Scalar y) { return -dy * (y / x); });
}
Tensor pow(const Tensor& A, Scalar exponent) {
  return unary(
      "pow", A, [exponent](Scalar x) { return std::pow(x, exponent); },
      [exponent](Scalar dy, Scalar x, Scalar) { return dy * pow_slope(x, exponent); }, only_x);
}
Tensor neg(const Tensor& x) { return mul(x, -1); }
Tensor exp(const Tensor& X) {
  return unary(
      "exp", X, [](Scalar x) { return kernels::exp(x); }, [](Scalar dy, Scalar, Scalar y) { return dy * y; }, only_y);
}
Tensor log(const Tensor& X) {
  return unary(
      "log", X, [](Scalar x) { return std::log(x); }, [](Scalar dy, Scalar x, Scalar) { return dy / x; }, only_x);
}
Tensor log1p(const Tensor& X) {
  return unary(
      "log1p", X, [](Scalar x) { return std::log1p(x); }, [](Scalar dy, Scalar x, Scalar) { return dy / (1 + x); },
      only_x);
}
Tensor sqrt(const Tensor& X) {
  return unary(
      "sqrt", X, [](Scalar x) { return std::sqrt(x); }, [](Scalar dy, Scalar, Scalar y) { return dy / (2 * y); },
      only_y);
}
Tensor expm1(const Tensor& X) {
  return unary(
      "expm1", X, [](Scalar x) { return std::expm1(x); }, [](Scalar dy, Scalar x, Scalar) { return dy * std::exp(x); },
      only_x);
}
Tensor sin(const Tensor& X) {
  return unary(
      "sin", X, [](Scalar x) { return std::sin(x); }, [](Scalar dy, Scalar x, Scalar) { return dy * std::cos(x); },
      only_x);
}
Tensor cos(const Tensor& X) {
  return unary(
      "cos", X, [](Scalar x) { return std::cos(x); }, [](Scalar dy, Scalar x, Scalar) { return dy * -std::sin(x); },
      only_x);
}
Tensor abs(const Tensor& X) {
  return unary(
      "abs", X, [](Scalar x) { return std::abs(x); }, [](Scalar dy, Scalar x, Scalar) { return dy * sign_of(x); },
      only_x);
}
Tensor sign(const Tensor& X) {
  return unary(
      "sign", X, sign_of, [](Scalar dy, Scalar, Scalar) { return dy * 0; }, neither);
}
Tensor floor(const Tensor& X) {
  return unary(
      "floor", X, [](Scalar x) { return std::floor(x); }, [](Scalar dy, Scalar, Scalar) { return dy * 0; }, neither);
}
Tensor clamp(const Tensor& X, Scalar low, Scalar high) {
  require(low <= high, "clamp", "low ", low, " is above high ", high);
  // The derivative is 1 from low to high, both included. That of NaN is NaN.
  return unary(
      "clamp", X, [low, high](Scalar x) { return x < low    ? low
                                                 : x > high ? high
                                                            : x; },
      [low, high](Scalar dy, Scalar x, Scalar) { return dy * (x < low || x > high ? 0
                                                              : x == x            ? 1
                                                                                  : x); }, only_x);
}

}  // namespace difftensor::inline DT_PRECISION
