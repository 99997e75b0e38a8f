// Arithmetic, activations, reductions, norms, random numbers and clipping on inputs where float runs out of digits or
// of range. The reference is the definition, in long double.
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "core/ops.h"
#include "nn/losses.h"
#include "optim/clip.h"
#include "tests/testing.h"

using namespace difftensor;

namespace {
constexpr Scalar infinity = std::numeric_limits<Scalar>::infinity(),
                 not_a_number = std::numeric_limits<Scalar>::quiet_NaN();
constexpr double eps = std::numeric_limits<Scalar>::epsilon();
constexpr Scalar smallest = std::numeric_limits<Scalar>::min(), largest = std::numeric_limits<Scalar>::max();
using Real = long double;

// |a - b| in units in the last place of b; of the smallest normal number, if b is below that.
double ulps(Scalar a, Real b) {
  if (a == static_cast<Scalar>(b)) return 0;
  return static_cast<double>(std::abs(a - b) / (eps * std::max<Real>(std::abs(b), smallest)));
}
Tensor parameter(Tensor t) { return t.requires_grad(), t; }
Scalar gradient_of(const std::function<Tensor(const Tensor&)>& f, Scalar x) {
  const Tensor t = parameter(scalar(x));
  f(t).backward();
  return t.grad().item();
}
const Real inverse_sqrt_2 = std::sqrt(0.5L), pi = std::acos(-1.0L);
Real normal_cdf(Real x) { return std::erfc(-x * inverse_sqrt_2) / 2; }
Real normal_density(Real x) { return std::exp(-x * x / 2) / std::sqrt(2 * pi); }
Real logistic(Real x) { return 1 / (1 + std::exp(-x)); }
}  // namespace

TEST_SUITE("numerics") {
  TEST_CASE("a quotient is a division, and so is its gradient") {
    for (int n = 1; n < 1000; ++n) {
      const auto x = static_cast<Scalar>(n);
      const Tensor a = parameter(full({3}, x)), b = full({3}, x);
      const auto is_one = [](const Tensor& t) { return t.data()[0] == 1 && t.data()[2] == 1; };
      CHECK(is_one(a / x));
      CHECK(is_one(x / a));
      CHECK(is_one(a / b));
      CHECK(mean(full({n}, x)).item() == x);
      for (const auto& f :
           {std::function([x](const Tensor& t) { return t / x; }), {[b](const Tensor& t) { return t / b; }}}) {
        a.zero_grad();
        f(a).backward(b);
        CHECK(is_one(a.grad()));
      }
      const Tensor all = parameter(zeros({n}));
      mean(all).backward(scalar(x));
      CHECK(all.grad().data()[n - 1] == 1);
      CHECK(gradient_of([x](const Tensor& t) { return log(t) * x; }, x) == 1);
      CHECK(gradient_of([x](const Tensor& t) { return x / t; }, x) == Scalar(-1) / x);
    }
    CHECK(gradient_of([](const Tensor& t) { return t / Scalar(smallest / 4) * smallest; }, 1) == 4);
  }

  TEST_CASE("activations and their derivatives do not saturate or cancel") {
    struct Row {
      const char* name;
      std::function<Tensor(const Tensor&)> f;
      std::function<Real(Real)> exact, slope;
      std::function<double(double)> bound, slope_bound;  // in ulps of the result, or of max(1, |result|) if negative
    };
    const auto few = [](double) { return 4.0; };
    const std::vector<Row> table{
        {"tanh", [](const Tensor& x) { return tanh(x); }, [](Real x) { return std::tanh(x); },
         [](Real x) { return 1 / std::cosh(x) / std::cosh(x); }, few, [](double) { return 8.0; }},
        {"sigmoid", [](const Tensor& x) { return sigmoid(x); }, logistic,
         [](Real x) { return logistic(x) * logistic(-x); }, few, [](double) { return 6.0; }},
        {"relu", [](const Tensor& x) { return relu(x); }, [](Real x) { return std::max(x, 0.0L); },
         [](Real x) { return x > 0 ? 1 : 0; }, few, few},
        {"silu", [](const Tensor& x) { return silu(x); }, [](Real x) { return x * logistic(x); },
         [](Real x) { return logistic(x) * (1 + x * logistic(-x)); }, few, [](double x) { return -4 - std::abs(x); }},
        {"gelu", [](const Tensor& x) { return gelu(x); }, [](Real x) { return x * normal_cdf(x); },
         [](Real x) { return normal_cdf(x) + x * normal_density(x); }, [](double x) { return 4 + x * x; },
         [](double x) { return -8 - x * x; }},
        {"swiglu", [](const Tensor& x) { return swiglu(x, ones({})); }, [](Real x) { return x * logistic(x); },
         [](Real x) { return logistic(x) * (1 + x * logistic(-x)); }, few, [](double x) { return -4 - std::abs(x); }},
    };
    for (const Row& row : table)
      for (const Scalar size : {Scalar(0), Scalar(1e-40), Scalar(1e-8), Scalar(0.3), Scalar(1), Scalar(3), Scalar(5),
                                Scalar(9), Scalar(12), Scalar(17), Scalar(40), Scalar(80), Scalar(1e38)})
        for (const Scalar x : {size, -size}) {
          INFO(row.name, " of ", x);
          const Scalar y = row.f(scalar(x)).item(), slope = gradient_of(row.f, x);
          CHECK(ulps(y, row.exact(x)) <= row.bound(x));
          if (const double bound = row.slope_bound(x); bound > 0)
            CHECK(ulps(slope, row.slope(x)) <= bound);
          else
            CHECK(static_cast<double>(std::abs(slope - row.slope(x))) <= -bound * eps);
        }
    CHECK(sigmoid(scalar(-100)).item() > 0);
    for (const Row& row : table) {
      CHECK(std::isnan(row.f(scalar(not_a_number)).item()));
      CHECK(std::isnan(gradient_of(row.f, not_a_number)));
      CHECK(std::isnan(gradient_of([&](const Tensor& x) { return row.f(x) * not_a_number; }, -1)));
    }
  }

  TEST_CASE("a NaN does not vanish in maximum, max or pow") {
    for (const auto& [a, b] :
         std::vector<std::pair<Scalar, Scalar>>{{not_a_number, 1}, {1, not_a_number}, {not_a_number, not_a_number}}) {
      const Tensor x = parameter(scalar(a)), y = parameter(scalar(b)), top = maximum(x, y);
      top.backward();
      CHECK(std::isnan(top.item()));
      CHECK((std::isnan(x.grad().item()) && std::isnan(y.grad().item())));
      const Tensor z = parameter(tensor({0, a, b}, {3}));
      max(z).backward();
      CHECK((std::isnan(z.grad().data()[1]) && std::isnan(z.grad().data()[2])));
    }
    const Tensor x = parameter(tensor({1, 2, 2}, {3}));
    max(x).backward(scalar(not_a_number));
    CHECK((std::isnan(x.grad().data()[1]) && std::isnan(x.grad().data()[2])));
    const Tensor power = parameter(scalar(not_a_number));
    pow(scalar(0), power).backward();
    CHECK(std::isnan(power.grad().item()));
  }

  TEST_CASE("binary cross entropy of sure predictions") {
    for (const Scalar x : {Scalar(-80), Scalar(-20), Scalar(-1e-4), Scalar(0), Scalar(5), Scalar(20), Scalar(1e4)})
      for (const Scalar t : {Scalar(0), Scalar(1), Scalar(0.999), Scalar(1e-7)}) {
        CAPTURE(x);
        CAPTURE(t);
        const Real up = std::max<Real>(x, 0), down = std::max<Real>(-x, 0);
        const Real exact = up * (1 - Real(t)) + down * t + std::log1p(std::exp(-up - down));
        const auto loss = [t](const Tensor& x) { return nn::binary_cross_entropy_with_logits(x, scalar(t)); };
        CHECK(ulps(loss(scalar(x)).item(), exact) <= 8);
        const Real slope = x > 0 ? (1 - Real(t)) - logistic(-Real(x)) : logistic(x) - t;
        CHECK(static_cast<double>(std::abs(gradient_of(loss, x) - slope)) <=
              4 * eps *
                  static_cast<double>(std::abs(1 - Real(t)) * (x > 0) + Real(t) * (x <= 0) +
                                      logistic(-std::abs(Real(x)))));
      }
    CHECK(std::isnan(nn::binary_cross_entropy_with_logits(scalar(not_a_number), scalar(1)).item()));
  }

  TEST_CASE("sums and means of many, of large and of small") {
    const int64_t n = (1 << 24) + 3;
    CHECK(sum(ones({n})).item() == static_cast<Scalar>(n));
    const double bound = sizeof(Scalar) == 4 ? 0 : 4e-9;  // n roundings of a unit in the last place
    CHECK(std::abs(mean(full({n}, Scalar(0.1))).item() / Scalar(0.1) - 1) <= bound);
    CHECK(mean(full({1000}, sizeof(Scalar) == 4 ? largest / 2 : Scalar(1e300))).item() > 0);
    const Tensor bias = parameter(zeros({1})), x = ones({n, 1});  // the gradient of a bias sums over rows
    linear(x, zeros({1, 1}), bias).backward(x);
    CHECK(bias.grad().item() == static_cast<Scalar>(n));
    const Tensor stretched = parameter(zeros({1}));
    (stretched + ones({n})).backward(ones({n}));
    CHECK(stretched.grad().item() == static_cast<Scalar>(n));
  }

  TEST_CASE("of 20 million that meet at one place, none is lost") {
    const int64_t n = 20'000'000;  // more than the 2^24 at which a float no longer grows by 1
    const Index places(std::vector<int32_t>(n, 1));
    CHECK(scatter_add(tensor({5, 7, 9}, {3}), 0, places, ones({n})).values() ==
          std::vector<Scalar>{5, 7 + Scalar(n), 9});
    const Tensor x = ones({2}).requires_grad();
    sum(gather(x, 0, places)).backward();
    CHECK(x.grad().values() == std::vector<Scalar>{0, Scalar(n)});
  }

  TEST_CASE("positions as far as there are") {
    const std::vector<int32_t> far{2147483647, 3, 1 << 20, (1 << 20) - 1};
    const Tensor angles = sinusoids(far, 8), x = ones({4, 8}).requires_grad(), y = rope(x, 2, far, 500);
    for (int64_t n = 0; n < 4; ++n)
      for (int64_t i = 0; i < 4; ++i) {
        const double angle = far[n] * std::pow(1e4, -i / 4.0), turn = far[n] * std::pow(500, -(i % 2) / 2.0);
        CHECK(angles.values()[n * 8 + 2 * i] == doctest::Approx(std::sin(angle)));
        CHECK(angles.values()[n * 8 + 2 * i + 1] == doctest::Approx(std::cos(angle)));
        CHECK(y.values()[n * 8 + 2 * i] == doctest::Approx(std::cos(turn) - std::sin(turn)).epsilon(1e-5));
      }
    y.backward(y.detach());
    for (const Scalar dx : x.grad().values()) CHECK(dx == doctest::Approx(1));  // turned back
    // A near position has the same bits beside a far one and alone.
    const Tensor near = sinusoids({3}, 8);
    CHECK(std::equal(near.data(), near.data() + 8, angles.data() + 8));
  }

  TEST_CASE("norms of rows of every size, and with a large offset") {
    Random random(4);
    const int64_t D = 37;
    for (const bool layer : {false, true})
      for (const Scalar small : {Scalar(1e-5), Scalar(0)})
        for (const Scalar scale : {smallest / 256, Scalar(1e-30), Scalar(1), Scalar(1e20), largest / 4})
          for (const Scalar offset : {Scalar(0), Scalar(1 << 24)}) {
            if (offset != 0 && (!layer || scale != 1)) continue;
            CAPTURE(layer);
            CAPTURE(scale);
            CAPTURE(small);
            CAPTURE(offset);
            Tensor x = parameter(zeros({1, D}));
            const Tensor w = rand({D}, random, 1, 2), b = zeros({D});
            for (int64_t i = 0; i < D; ++i)
              x.data()[i] = offset + (offset != 0 ? static_cast<Scalar>(2 * random.below(3)) : random.normal() * scale);
            const Tensor seed = rand({1, D}, random, -1, 1);
            const Tensor y = layer ? layer_norm(x, w, b, small) : rms_norm(x, w, small);
            y.backward(seed);
            std::vector<Real> n(D);  // from x - offset: that shifts no result, and a long double holds its mean
            const auto shifted = [&](int64_t i) { return Real(x.data()[i]) - Real(offset); };
            Real mean = 0, square = 0, mean_u = 0, mean_un = 0;
            for (int64_t i = 0; layer && i < D; ++i) mean += shifted(i) / D;
            for (int64_t i = 0; i < D; ++i) square += (shifted(i) - mean) * (shifted(i) - mean) / D;
            const Real rstd = 1 / std::sqrt(square + Real(small));
            for (int64_t i = 0; i < D; ++i) {
              n[i] = (shifted(i) - mean) * rstd;
              const Real u = Real(seed.data()[i]) * w.data()[i];
              mean_u += layer ? u / D : 0, mean_un += u * n[i] / D;
            }
            for (int64_t i = 0; i < D; ++i) {
              CHECK(static_cast<double>(std::abs(y.data()[i] - n[i] * w.data()[i])) <= 20 * eps * 6);
              const Real dx = rstd * (Real(seed.data()[i]) * w.data()[i] - mean_u - n[i] * mean_un);
              if (const auto d = static_cast<Scalar>(dx); std::isfinite(d))
                CHECK(static_cast<double>(std::abs(x.grad().data()[i] - dx)) <=
                      40 * eps * 6 * std::max<double>(static_cast<double>(rstd), smallest));
            }
          }
    const Tensor w = ones({2}), b = zeros({2});
    const Tensor y = layer_norm(tensor({Scalar(1e38), Scalar(-1e38)}, {1, 2}), w, b);
    CHECK(y.data()[0] == doctest::Approx(1).epsilon(1e-6));
    for (const Scalar bad : {not_a_number, infinity, -infinity}) {
      const Tensor x = tensor({1, bad}, {1, 2});
      CHECK(std::isnan(layer_norm(x, w, b).data()[1]));
      CHECK(std::isnan(rms_norm(x, w).data()[1]));
    }
  }

  TEST_CASE("gradients of norms are right in rows of any length") {
    // All terms alike, so that their roundings in a sum add up rather than cancel.
    for (const int64_t D : {1000, 1024, 1025, 16384, 1 << 20}) {
      CAPTURE(D);
      const double units = sizeof(Scalar) == 4 ? 140 : 140 + static_cast<double>(D) / 1024;
      Random random(3);
      const Tensor w = ones({D}), b = zeros({D}), seed = full({1, D}, Scalar(0.1));
      const Tensor x = parameter(randn({1, D}, random)), y = parameter(ones({1, D}));
      layer_norm(x, w, b).backward(seed);  // u - mean(u) is 0, and mean(u n) as good as 0
      rms_norm(y, w, 0).backward(seed);    // u n is u
      for (const Tensor& t : {x, y}) CHECK(max(abs(t.grad())).item() <= units * eps * 0.1);
    }
  }

  TEST_CASE("random numbers stay in their interval") {
    for (const auto& [low, high] : std::vector<std::pair<Scalar, Scalar>>{
             {1, 2}, {Scalar(1e6), Scalar(1e6 + 1)}, {-1, Scalar(-0.75)}, {0, smallest}, {-2, 7}}) {
      Random random(5);
      const Tensor x = rand({1 << 20}, random, low, high);
      CHECK(*std::min_element(x.data(), x.data() + x.numel()) >= low);
      CHECK(*std::max_element(x.data(), x.data() + x.numel()) < high);
    }
    Random random(5);
    CHECK(rand({1}, random, 3, 3).item() == 3);
    CHECK_THROWS(rand({1}, random, 1, 0));
    CHECK_THROWS(rand({1}, random, -largest, largest));
    const Tensor normal = randn({1 << 20}, random);
    CHECK(std::isfinite(sum(normal * normal).item()));
  }

  TEST_CASE("clipping: NaN goes into every gradient; large and small ones have their norm") {
    const auto clipped = [](Scalar a, Scalar b, double max_norm, double* norm = nullptr) {
      const Tensor x = parameter(scalar(0)), y = parameter(scalar(0));
      x.backward(scalar(a)), y.backward(scalar(b));
      const double n = optim::clip_grad_norm({x, y}, max_norm);
      if (norm) *norm = n;
      return std::pair{x.grad().item(), y.grad().item()};
    };
    const auto [a, b] = clipped(not_a_number, 1, 1);
    CHECK((std::isnan(a) && std::isnan(b)));
    const auto [c, d] = clipped(infinity, 1, 1);
    CHECK((std::isnan(c) && d == 0));
    for (const Scalar size : {largest / 8, std::sqrt(largest), Scalar(1), std::sqrt(smallest), smallest}) {
      CAPTURE(size);
      double norm;
      const auto [e, f] = clipped(3 * size, 4 * size, static_cast<double>(size), &norm);
      CHECK(std::abs(norm / static_cast<double>(size) / 5 - 1) < 1e-6);
      if (size >= 1) CHECK(std::abs(f / size * 5 / 4 - 1) < 1e-5);
    }
  }
}
