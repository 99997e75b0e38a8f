// Random cases of comparisons, steps, and what is computed along a line, each beside its definition in double.
#include <algorithm>
#include <limits>

#include "tests/property_arrays.h"

namespace property {
namespace {
constexpr double unit = std::numeric_limits<Scalar>::epsilon();
// Kinks of clamp, between the sixteenths that `distinct` draws.
constexpr double low = -1 - 1.0 / 32, high = 2 + 1.0 / 32;

// The line through an element, along an axis.
std::vector<double> line(const Array& x, int axis, Shape at) {
  std::vector<double> values;
  for (at[axis] = 0; at[axis] < x.shape[axis]; ++at[axis]) values.push_back(x.v[offset(x.shape, at)]);
  return values;
}
// f(line) in the place of each line.
Array along_lines(const Array& x, int axis, bool keepdim, double (*f)(const std::vector<double>&)) {
  Array y = fill(with(x.shape, axis, 1), [&](const Shape& at) { return f(line(x, axis, at)); });
  if (!keepdim) y.shape = without(y.shape, axis);
  return y;
}
double variance(const std::vector<double>& x, double correction) {
  double mean = 0, squares = 0;
  for (double v : x) mean += v / static_cast<double>(x.size());
  for (double v : x) squares += (v - mean) * (v - mean);
  return squares / (static_cast<double>(x.size()) - correction);
}
double log_sum_exp(const std::vector<double>& x) {
  const double most = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (double v : x) sum += std::exp(v - most);
  return most + std::log(sum);
}
double euclidean(const std::vector<double>& x) {
  double squares = 0;
  for (double v : x) squares += v * v;
  return std::sqrt(squares);
}

}  // namespace

void pieces_on_elements(std::vector<Kind>& kinds) {
  using Compare = double (*)(double, double);
  struct Comparison {
    const char* name;
    Binary run;
    Compare f;
  };
  for (const Comparison& c : std::vector<Comparison>{
           {"eq", eq, [](double a, double b) { return a == b ? 1.0 : 0; }},
           {"ne", ne, [](double a, double b) { return a != b ? 1.0 : 0; }},
           {"lt", lt, [](double a, double b) { return a < b ? 1.0 : 0; }},
           {"le", le, [](double a, double b) { return a <= b ? 1.0 : 0; }},
           {"gt", gt, [](double a, double b) { return a > b ? 1.0 : 0; }},
           {"ge", ge, [](double a, double b) { return a >= b ? 1.0 : 0; }},
       })
    kinds.push_back({c.name, [=](Draw& d) {
                       const Shape shape = d.shape(0, 4, true);
                       Arrays in = {d.values(d.stretchable(shape)), d.values(d.stretchable(shape))};
                       for (Array& x : in)
                         for (double& v : x.v) v = std::round(v);  // so that some are equal
                       return Case{binary(c.name, c.run, c.f), in};
                     }});
  struct Piecewise {
    const char* name;
    std::function<Tensor(const Tensor&)> run;
    double (*f)(double);
    double ulps;
  };
  for (const Piecewise& p : std::vector<Piecewise>{
           {"sign", sign, [](double x) { return x > 0 ? 1.0 : -1.0; }, 0},
           {"floor", [](const Tensor& x) { return floor(x + Scalar(1.0 / 32)); },
            [](double x) { return std::floor(x + 1.0 / 32); }, 0},
           {"clamp", [](const Tensor& x) { return clamp(x, Scalar(low), Scalar(high)); },
            [](double x) { return std::clamp(x, low, high); }, 0},
           {"leaky_relu", [](const Tensor& x) { return leaky_relu(x, Scalar(0.125)); },
            [](double x) { return x > 0 ? x : x / 8; }, 0},
       })
    kinds.push_back({p.name, [=](Draw& d) {
                       const Op op{p.name, [=](const Tensors& x) { return p.run(x[0]); },
                                   [=](const Arrays& x) { return map(x[0], p.f); }};
                       return Case{op, {d.values(d.shape(0, 4, true), Values::distinct)}, p.ulps};
                     }});
}

void pieces_on_lines(std::vector<Kind>& kinds) {
  struct Lines {
    const char* name;
    std::function<Tensor(const Tensor&, int, bool)> run;
    double (*f)(const std::vector<double>&);
    double ulps, gradient_ulps;
  };
  for (const Lines& lines : std::vector<Lines>{
           {"var", [](const Tensor&x, int axis, bool keepdim) { return var(x, axis, keepdim, 0); },
            [](const std::vector<double>&x) { return variance(x, 0); }, 2, 50},
           {"stddev", [](const Tensor&x, int axis, bool keepdim) { return stddev(x, axis, keepdim); },
            [](const std::vector<double>&x) { return std::sqrt(variance(x, 1)); }, 2, 50},
           {"norm", [](const Tensor&x, int axis, bool keepdim) { return norm(x, axis, keepdim); }, euclidean, 1, 50},
           {"logsumexp", logsumexp, log_sum_exp, 0, 50},
       })
    kinds.push_back({lines.name, [=](Draw& d) {
                       Shape shape = d.shape(1, 4);
                       const int axis = an_axis(d, shape.rank());
                       int64_t& length = shape[positive(axis, shape.rank())];
                       length = std::max<int64_t>(length, 3);
                       const bool keepdim = d.flip();
                       const Op op{lines.name, [=](const Tensors& x) { return lines.run(x[0], axis, keepdim); },
                                   [=](const Arrays& x) {
                                     return along_lines(x[0], positive(axis, x[0].shape.rank()), keepdim, lines.f);
                                   }};
                       // logsumexp: units of the largest x too, from which the rest is counted
                       const auto of = [=](const Arrays& x) {
                         Array y = op.reference(x);
                         const double least = largest(x[0]);
                         for (double& v : y.v) v = std::max(std::abs(v), least);
                         return y;
                       };
                       const bool absolute = lines.name == std::string("logsumexp");
                       return Case{op,
                                   {d.values(shape)},
                                   absolute ? 2 : lines.ulps,
                                   absolute ? std::function<Array(const Arrays&)>(of) : nullptr,
                                   lines.gradient_ulps,
                                   false};
                     }});
  kinds.push_back({"cumsum", [](Draw& d) {
                     const Shape shape = d.shape(1, 4, true);
                     const int axis = an_axis(d, shape.rank());
                     const auto sums = [=](const Array& x) {
                       const int along = positive(axis, shape.rank());
                       return fill(shape, [&](const Shape& at) {
                         const std::vector<double> all = line(x, along, at);
                         double sum = 0;
                         for (int64_t i = 0; i <= at[along]; ++i) sum += all[i];
                         return sum;
                       });
                     };
                     const auto of = [=](const Arrays& x) {
                       Array y = sums(absolute(x[0])), result = sums(x[0]);
                       for (size_t i = 0; i < y.v.size(); ++i)
                         y.v[i] = std::abs(result.v[i]) + 400 * std::exp2(-53) / unit * y.v[i];
                       return y;
                     };
                     const Op op{"cumsum", [=](const Tensors& x) { return cumsum(x[0], axis); },
                                 [=](const Arrays& x) { return sums(x[0]); }};
                     return Case{op, {d.values(shape)}, 0.6, of};
                   }});
  kinds.push_back({"prod", [](Draw& d) {
                     const Op op = reduction("prod", d.axes(2), d.flip());
                     return Case{op, {d.values({d.between(1, 5), d.between(1, 5)}, Values::nonzero)}, 1, {}, 50};
                   }});
  kinds.push_back({"along", [](Draw& d) {
                     const Shape shape = d.shape(1, 4);
                     const int axis = an_axis(d, shape.rank());
                     const auto run = [=](const Tensors& x) {
                       return along(x[0], axis, [](const Tensor& t) { return softmax(t); });
                     };
                     const auto reference = [=](const Arrays& x) {
                       const int at_axis = positive(axis, shape.rank());
                       return fill(shape, [&](const Shape& at) {
                         return std::exp(x[0].v[offset(shape, at)] - log_sum_exp(line(x[0], at_axis, at)));
                       });
                     };
                     return Case{{"along", run, reference}, {d.values(shape)}, 30, {}, 50, false};
                   }});
}

}  // namespace property
