#pragma once
// An op on elements, made of its formula and its derivative. This is one, whole:
//
//   Tensor cube(const Tensor& X) {
//     return unary(
//         "cube", X, [](Scalar x) { return x * x * x; }, [](Scalar dy, Scalar x, Scalar) { return dy * 3 * x * x; });
//   }
#include <type_traits>

#include "core/autograd.h"
#include "core/ops/broadcast.h"

namespace difftensor::inline DT_PRECISION {

/// Which arguments a gradient uses, beside dy. What it does not use, backward() lets the program overwrite.
struct Uses {
  bool x = true, y = true;
};
constexpr Uses only_x{true, false}, only_y{false, true}, neither{false, false};

/// y = f(x) for each element. `gradient(dy, x, y)` is dy f'(x): many derivatives are simpler in y, as exp's, which is
/// y; and a quotient such as log's, dy / x, is one division, where a product with 1 / x rounds twice.
template <class F, class Gradient>
Tensor unary(const char* op, const Tensor& x, F f, Gradient gradient, Uses uses = {}) {
  Tensor out(x.shape());
  const Scalar* in = x.data();
  Scalar* y = out.data();
  parallel_for(x.numel(), [=](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) y[i] = f(in[i]);
  });
  // dx += dy f'(x)
  return record(
      op, out, {x},
      [x = x.storage(), y = out.storage(), gradient](const Gradients& g) {
        g.add(0, [dy = g.out, x = x.data(), y = y.data(), gradient](int64_t i) { return gradient(dy[i], x[i], y[i]); });
      },
      {{x, uses.x}, {out, uses.y}});
}

/// A derivative of 1, as a sum has. It is a type, so that `binary` sees at compile time that the gradient passes on
/// unchanged. A residual connection is such a sum: this saves a copy of the gradient in every layer.
struct One {};

namespace detail {
template <class Derivative>
constexpr bool is_one = std::is_same_v<Derivative, One>;

// What backward keeps of an operand: its values, but nothing if no derivative needs them.
template <class Da, class Db>
Storage kept(const Tensor& operand) {
  return is_one<Da> && is_one<Db> ? Storage() : operand.storage();
}

// `binary` for operands of one shape.
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
      [a = kept<Da, Db>(a), b = kept<Da, Db>(b), da, db](const Gradients& g) {
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
  shape.map(a.data(), b.data(), out.data(), [f](Scalar x, Scalar y, int64_t) { return f(x, y); });
  // da += dc dc/da,  db += dc dc/db, each summed over the axes along which its operand was stretched
  return record(
      op, out, {a, b},
      [a = kept<Da, Db>(a), b = kept<Da, Db>(b), shape, da, db](const Gradients& g) {
        const auto add = [&]<class Derivative>(int k, Derivative derivative) {
          if (!g.wants(k)) return;
          if constexpr (is_one<Derivative>) {
            unbroadcast(shape, k, g.out, g.buffer(k));
          } else {
            Storage full(shape.shape.numel());
            shape.map(a.data(), b.data(), full.data(),
                      [=, dc = g.out](Scalar x, Scalar y, int64_t i) { return derivative(dc[i], x, y); });
            unbroadcast(shape, k, full.data(), g.buffer(k));
          }
        };
        add(0, da);
        add(1, db);
      },
      reads);
}
}  // namespace detail

/// c = f(a, b) for each element; the shapes broadcast. `da(dc, a, b)` and `db(dc, a, b)` are dc times the partial
/// derivatives dc/da and dc/db, or One(), where that is 1. `reads` names the operands whose values they use.
template <class F, class Da, class Db>
Tensor binary(const char* op, const Tensor& a, const Tensor& b, F f, Da da, Db db, std::initializer_list<Read> reads) {
  return a.shape() == b.shape() ? detail::same_shape(op, a, b, f, da, db, reads)
                                : detail::stretched(op, a, b, f, da, db, reads);
}
/// The same for derivatives that may use both operands.
template <class F, class Da, class Db>
Tensor binary(const char* op, const Tensor& a, const Tensor& b, F f, Da da, Db db) {
  return binary(op, a, b, f, da, db, {{a}, {b}});
}

}  // namespace difftensor::inline DT_PRECISION
