// Random cases, and the comparison of the library with the definitions.
#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/crc32.h"
#include "core/gradcheck.h"
#include "tests/property.h"

namespace property {
namespace {
constexpr bool in_double = sizeof(Scalar) == 8;
constexpr double unit = std::numeric_limits<Scalar>::epsilon();
constexpr double smallest = std::numeric_limits<Scalar>::min();
// In double the definition is rounded as often as the library.
constexpr double rounded_twice = in_double ? 2 : 1;

// The worst |got - want| / bound, and where. A NaN is infinitely wrong; so is an error where none is allowed.
struct Worst {
  double ratio = 0;
  std::string where = {};
  void see(double got, double want, double bound, int64_t at) {
    double r = std::abs(got - want) / std::max(bound, std::numeric_limits<double>::min());
    if (got == want) r = 0;  // infinity too
    if (std::isnan(r)) r = INFINITY;
    if (r <= ratio) return;
    ratio = r;
    std::ostringstream text;
    text.precision(12);
    text << "element " << at << ": " << got << ", should be " << want << " within " << bound;
    where = text.str();
  }
};

std::string describe(const Case& c) {
  std::ostringstream text;
  text << c.op.text;
  for (const Array& x : c.inputs) text << ' ' << x.shape;
  return text.str();
}
}  // namespace

std::vector<Kind> all_kinds() {
  std::vector<Kind> kinds;
  for (const auto add : {elementwise_kinds, shape_kinds, matrix_kinds, row_kinds, attention_kinds, pieces_on_elements,
                         pieces_on_lines, pieces_that_move, convolution_kinds})
    add(kinds);
  return kinds;
}

Tensor to_tensor(const Array& x) {
  Tensor t(x.shape);
  for (size_t i = 0; i < x.v.size(); ++i) t.data()[i] = static_cast<Scalar>(x.v[i]);
  return t;
}

Array to_array(const Tensor& x) {
  Array a(x.shape());
  for (size_t i = 0; i < a.v.size(); ++i) a.v[i] = static_cast<double>(std::as_const(x).data()[i]);
  return a;
}

uint64_t seed() { return from_environment("DT_PROPERTY_SEED", 1); }
int cases(int usual) { return static_cast<int>(from_environment("DT_PROPERTY_CASES", static_cast<uint64_t>(usual))); }

Draw::Draw(const std::string& name, int number, bool large)
    : large(large), random_(seed(), uint64_t{crc32(name)} << 32 | static_cast<uint64_t>(number)) {}

int64_t Draw::size() {
  static const std::vector<int64_t> edges = {8, 9, 15, 16, 17, 24, 31, 32, 33, 48, 65};
  if (large) return flip() ? between(1, 40) : between(40, 200);
  return below(4) ? between(1, 6) : one_of(edges);
}

Shape Draw::shape(int least_rank, int most_rank, bool empty) {
  const int64_t most = large ? 40000 : 400;
  for (;;) {
    Shape shape;
    for (int64_t rank = between(least_rank, most_rank); rank > 0; --rank)
      shape.push_back(empty && below(30) == 0 ? 0 : size());
    if (shape.numel() <= most) return shape;
  }
}

Shape Draw::stretchable(const Shape& shape) {
  Shape out;
  const int first = below(3) ? 0 : static_cast<int>(below(shape.rank() + 1));
  for (int i = first; i < shape.rank(); ++i) out.push_back(below(3) ? shape[i] : 1);
  return out;
}

Array Draw::values(const Shape& shape, Values kind) {
  Array x(shape);
  const double scale = one_of<double>({1, 1, 1, 0.125, 4});
  std::vector<double> grid(x.v.size());
  std::iota(grid.begin(), grid.end(), 1.0);
  for (size_t i = 0; i < x.v.size(); ++i) {
    const double sign = flip() ? 1 : -1;
    std::swap(grid[i], grid[below(static_cast<int64_t>(i) + 1)]);
    const double between_02_and_8 = std::exp2(-2.3 + 5.2 * number(0, 1));
    x.v[i] = kind == Values::any ? scale * normal() : kind == Values::plus ? between_02_and_8 : sign * between_02_and_8;
  }
  for (size_t i = 0; kind == Values::distinct && i < x.v.size(); ++i) x.v[i] = std::copysign(grid[i] / 16, x.v[i]);
  for (double& value : x.v) value = static_cast<double>(static_cast<Scalar>(value));
  return x;
}

std::vector<int32_t> Draw::ids(int64_t count, int64_t most) {
  std::vector<int32_t> ids;
  while (static_cast<int64_t>(ids.size()) < count) ids.push_back(static_cast<int32_t>(below(most)));
  return ids;
}

Array Draw::mask(const Shape& shape) {
  Array m(stretchable(shape));
  for (double& value : m.v) value = below(3) == 0 ? 1 : 0;
  return m;
}

std::vector<int> Draw::axes(int rank) {
  std::vector<int> axes = order(rank);
  axes.resize(below(rank + 1));
  return axes;
}

std::vector<int> Draw::order(int rank) {
  std::vector<int> axes(rank);
  for (int i = 0; i < rank; ++i) {
    axes[i] = i;
    std::swap(axes[i], axes[below(i + 1)]);
  }
  for (int& axis : axes) axis -= flip() ? rank : 0;
  return axes;
}

Quotients check(const Case& c, Draw& draw) {
  INFO("case: ", describe(c));
  // Forward.
  Tensors x;
  for (const Array& input : c.inputs) x.push_back(to_tensor(input).requires_grad(draw.below(4) != 0));
  const Tensor y = c.op.run(x);
  const Array want = c.op.reference(c.inputs), of = c.of ? c.of(c.inputs) : want;
  INFO("result: ", y.shape(), ", should be ", want.shape);
  REQUIRE(y.shape() == want.shape);
  Worst forward;
  for (size_t i = 0; i < want.v.size(); ++i)
    forward.see(static_cast<double>(std::as_const(y).data()[i]), want.v[i],
                rounded_twice * c.ulps * unit * std::abs(of.v[i]) + smallest, static_cast<int64_t>(i));
  CHECK_MESSAGE(forward.ratio <= 1, forward.where);

  // Backward, twice: what comes is added to what is there.
  if (!y.needs_grad()) return {};
  Array seed(y.shape());
  for (double& value : seed.v) value = static_cast<double>(static_cast<Scalar>(draw.normal()));
  y.backward(to_tensor(seed));
  Tensors once, twice;
  for (const Tensor& t : x) once.push_back(t.grad().defined() ? t.grad().clone() : Tensor());
  c.op.run(x).backward(to_tensor(seed));
  for (size_t k = 0; k < x.size(); ++k) {
    CHECK(once[k].defined() <= x[k].needs_grad());
    if (!x[k].needs_grad()) continue;
    if (!once[k].defined()) once[k] = zeros(x[k].shape());
    twice.push_back(x[k].grad().defined() ? x[k].grad() : once[k]);
    Worst doubled;
    const Array a = to_array(once[k]), b = to_array(twice.back());
    const double bound = c.gradient_ulps * unit * (largest(a) + largest(seed));
    for (size_t i = 0; i < a.v.size(); ++i) doubled.see(b.v[i], 2 * a.v[i], bound, static_cast<int64_t>(i));
    CHECK_MESSAGE(doubled.ratio <= 1, "after a second backward, the gradient of input ", k, ", ", doubled.where);
  }
  const Quotients quotients = check_gradients(c, draw, once, seed);

  // In double the library's own difference quotients are good enough too.
  int64_t elements = 0;
  for (const Array& input : c.inputs) elements += static_cast<int64_t>(input.v.size());
  if (!in_double || elements == 0 || elements > 24 || quotients.kinks || largest(want) > 100) return quotients;
  const GradcheckResult result = gradcheck(c.op.run, x, {.eps = 1e-6, .tolerance = 1e-5, .allow_unused = true});
  CHECK_MESSAGE(result.ok, result.message);
  return quotients;
}

Quotients check_gradients(const Case& c, Draw& draw, const Tensors& gradients, const Array& seed) {
  // Off by so much is each element of a quotient's numerator, when rounding is in double.
  Array noise = c.of ? c.of(c.inputs) : c.op.reference(c.inputs);
  for (size_t j = 0; j < noise.v.size(); ++j) noise.v[j] = 2e-16 * (8 + c.ulps) * std::abs(seed.v[j] * noise.v[j]);
  Quotients quotients;
  for (size_t k = 0; k < gradients.size(); ++k) {
    if (!gradients[k].defined() || gradients[k].numel() == 0) continue;
    struct Element {
      int64_t at;
      double quotient = 0, sum = 0, error = 0;
    };
    std::vector<Element> chosen;
    Arrays in = c.inputs;
    double most = c.sharp ? 0 : largest(seed);
    for (int n = 0; n < c.elements; ++n) {
      // Two central quotients, with steps h and 2 h: both are off as h^2, their extrapolation as h^4. A kink between h
      // and 2 h puts it off by a third of their difference; one nearer than h shows in the difference.
      Element e{draw.below(gradients[k].numel())};
      const double value = in[k].v[e.at];
      const double step = std::exp2(-13) * std::max(0.25, std::isfinite(value) ? std::abs(value) : 0);
      Array y[4];
      double x[4];
      for (int i = 0; i < 4; ++i) {
        x[i] = in[k].v[e.at] = value + (i < 2 ? step : 2 * step) * (i % 2 ? -1 : 1);
        y[i] = c.op.reference(in);
      }
      in[k].v[e.at] = value;
      double bend = 0;
      for (size_t j = 0; j < seed.v.size(); ++j) {
        if (!c.sharp) e.error += noise.v[j] / step;                      // an influence too small to see, too
        if (y[0].v[j] == y[1].v[j] && y[2].v[j] == y[3].v[j]) continue;  // no influence, or infinite
        const double near = seed.v[j] * (y[0].v[j] - y[1].v[j]) / (x[0] - x[1]);
        const double far = seed.v[j] * (y[2].v[j] - y[3].v[j]) / (x[2] - x[3]);
        bend += far - near;
        e.quotient += (4 * near - far) / 3;
        e.sum += std::abs(near);
        e.error += (c.sharp ? noise.v[j] / step : 0) + 0.4 * std::abs(far - near);
      }
      most = std::max(most, e.sum);
      ++quotients.taken;
      if (std::abs(bend) > 2e-5 * std::max(1.0, e.sum))
        ++quotients.kinks;
      else
        chosen.push_back(e);
    }
    Worst worst;
    for (const Element& e : chosen)
      worst.see(static_cast<double>(std::as_const(gradients[k]).data()[e.at]), e.quotient,
                c.gradient_ulps * unit * (c.sharp ? e.sum : most) + e.error + smallest, e.at);
    CHECK_MESSAGE(worst.ratio <= 1, "the gradient of input ", k, ", ", worst.where);
  }
  return quotients;
}

}  // namespace property
