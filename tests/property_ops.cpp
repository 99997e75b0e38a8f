// Random cases of the ops on elements, and of those that move or reduce them.
#include <doctest/doctest.h>

#include <algorithm>
#include <limits>

#include "tests/property_arrays.h"

namespace property {
namespace {
constexpr double unit = std::numeric_limits<Scalar>::epsilon();

Scalar number(Draw& d) { return d.number(-3, 3); }
}  // namespace

void elementwise_kinds(std::vector<Kind>& kinds) {
  struct OneInput {
    const char* name;
    Unary run;
    double (*f)(double);
    Values values;
    double ulps, more;  // to ulps + more x^2 units in the last place
    bool sharp;
  };
  const std::vector<OneInput> unary_ops = {
      {"neg", neg, [](double x) { return -x; }, Values::any, 0, 0, true},
      {"exp", exp, std::exp, Values::any, 1.5, 0, true},
      {"log", log, std::log, Values::plus, 1.5, 0, true},
      {"log1p", log1p, std::log1p, Values::plus, 1.5, 0, true},
      {"sqrt", sqrt, std::sqrt, Values::plus, 0.5, 0, true},
      {"tanh", tanh, std::tanh, Values::any, 2, 0, true},
      {"sigmoid", sigmoid, sigmoid_of, Values::any, 3, 0, true},
      {"relu", relu, [](double x) { return std::max(x, 0.0); }, Values::distinct, 0, 0, true},
      {"gelu", gelu, gelu_of, Values::any, 4, 1, false},
      {"expm1", expm1, std::expm1, Values::any, 1.5, 0, true},
      {"sin", sin, std::sin, Values::any, 1.5, 0, true},
      {"cos", cos, std::cos, Values::any, 1.5, 0, true},
      {"abs", abs, std::abs, Values::distinct, 0, 0, true},
      {"elu", [](const Tensor& x) { return elu(x); }, [](double x) { return x > 0 ? x : std::expm1(x); },
       Values::distinct, 1.5, 0, true},
      {"softplus", softplus, [](double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); },
       Values::any, 3, 0, false},
      {"silu", silu, [](double x) { return x / (1 + std::exp(-x)); }, Values::any, 4, 0, false},
  };
  for (const OneInput& op : unary_ops)
    kinds.push_back(
        {op.name, [=](Draw& d) {
           const auto of = [=](const Arrays& in) {
             Array y = map(in[0], op.f);
             for (size_t i = 0; i < y.v.size(); ++i) y.v[i] *= op.ulps + op.more * in[0].v[i] * in[0].v[i];
             return y;
           };
           return Case{unary(op.name, op.run, op.f), {d.values(d.shape(0, 4, true), op.values)}, 1, of, 50, op.sharp};
         }});

  struct TwoInputs {
    const char* name;
    Binary run;
    double (*f)(double, double);
    Values a, b;
    double ulps;
  };
  const std::vector<TwoInputs> binary_ops = {
      {"add", add, [](double a, double b) { return a + b; }, Values::any, Values::any, 0.5},
      {"sub", sub, [](double a, double b) { return a - b; }, Values::any, Values::any, 0.5},
      {"mul", mul, [](double a, double b) { return a * b; }, Values::any, Values::any, 0.5},
      {"div", div, [](double a, double b) { return a / b; }, Values::any, Values::nonzero, 0.5},
      {"pow", pow, [](double a, double b) { return std::pow(a, b); }, Values::plus, Values::any, 1.5},
      {"maximum", maximum, [](double a, double b) { return std::max(a, b); }, Values::distinct, Values::distinct, 0},
      {"minimum", minimum, [](double a, double b) { return std::min(a, b); }, Values::distinct, Values::distinct, 0},
  };
  for (const TwoInputs& op : binary_ops)
    kinds.push_back(
        {op.name, [=](Draw& d) {
           const Shape shape = d.shape(0, 4, true);
           const Arrays in = {d.values(d.stretchable(shape), op.a), d.values(d.stretchable(shape), op.b)};
           return Case{binary(op.name, op.run, op.f), in, op.ulps, {}, 16 + 0.1 * static_cast<double>(shape.numel())};
         }});
  // With a number. The case's op is chosen among its spellings.
  using WithNumber = std::function<Op(Scalar)>;
  const auto spelling = [](const char* name, auto run, auto f) -> WithNumber {
    return [=](Scalar b) {
      return Op{name, [=](const Tensors& x) { return run(x[0], b); },
                [=](const Arrays& x) {
                  return elementwise(x, [=](const double* v) { return f(v[0], static_cast<double>(b)); });
                }};
    };
  };
  const auto with_number = [&](const char* name, const std::vector<WithNumber>& spellings, Values values, double ulps) {
    kinds.push_back({name, [=](Draw& d) {
                       Scalar b = values == Values::plus ? d.one_of<Scalar>({2, 3, -1, Scalar(0.5), Scalar(-1.5), 0, 1})
                                                         : number(d);
                       if (std::abs(b) < Scalar(0.1) && values != Values::plus) b = 1;
                       return Case{d.one_of(spellings)(b), {d.values(d.shape(0, 4, true), values)}, ulps};
                     }});
  };
  with_number("add number",
              {spelling(
                   "x + b", [](const Tensor& x, Scalar b) { return x + b; }, [](double x, double b) { return x + b; }),
               spelling(
                   "b + x", [](const Tensor& x, Scalar b) { return b + x; }, [](double x, double b) { return b + x; }),
               spelling(
                   "x - b", [](const Tensor& x, Scalar b) { return x - b; }, [](double x, double b) { return x - b; }),
               spelling(
                   "b - x", [](const Tensor& x, Scalar b) { return b - x; }, [](double x, double b) { return b - x; })},
              Values::any, 0.5);
  with_number("mul number",
              {spelling(
                   "x b", [](const Tensor& x, Scalar b) { return x * b; }, [](double x, double b) { return x * b; }),
               spelling(
                   "b x", [](const Tensor& x, Scalar b) { return b * x; }, [](double x, double b) { return x * b; })},
              Values::any, 0.5);
  with_number("div number",
              {spelling(
                  "x / b", [](const Tensor& x, Scalar b) { return x / b; }, [](double x, double b) { return x / b; })},
              Values::any, 0.5);
  with_number("div of a number",
              {spelling(
                  "b / x", [](const Tensor& x, Scalar b) { return b / x; }, [](double x, double b) { return b / x; })},
              Values::nonzero, 0.5);
  with_number("pow number",
              {spelling(
                  "x^b", [](const Tensor& x, Scalar b) { return pow(x, b); },
                  [](double x, double b) { return std::pow(x, b); })},
              Values::plus, 1.5);

  kinds.push_back({"swiglu", [](Draw& d) {
                     const Shape shape = d.shape(0, 4, true);
                     const auto f = [](double gate, double up) { return gate / (1 + std::exp(-gate)) * up; };
                     return Case{binary("swiglu", swiglu, f), {d.values(shape), d.values(shape)}, 5, {}, 50, false};
                   }});
  kinds.push_back({"where", [](Draw& d) {
                     const Shape shape = d.shape(0, 4, true);
                     const Arrays in = {d.values(d.stretchable(shape)), d.values(d.stretchable(shape))};
                     return Case{where_op(d.mask(shape)), in, 0, {}, 16 + 0.1 * static_cast<double>(shape.numel())};
                   }});
  kinds.push_back({"masked_fill", [](Draw& d) {
                     const Shape shape = d.shape(0, 4, true);
                     const Op op = masked_fill_op(d.mask(shape), number(d));
                     return Case{op, {d.values(shape)}};
                   }});
  kinds.push_back({"dropout", [](Draw& d) {
                     // Which elements stay is the library's choice; by what they are multiplied is not.
                     const Array x = d.values(d.shape(0, 3, true));
                     const Scalar p = d.flip() ? 0 : d.number(0, 0.9);
                     const auto at = static_cast<uint64_t>(d.below(1000));
                     manual_seed(at);
                     const Array kept = to_array(dropout(ones(x.shape), p));
                     for (double value : kept.v)
                       CHECK((value == 0 || std::abs(value * (1 - static_cast<double>(p)) - 1) < 2 * unit));
                     const Op op{"dropout", [=](const Tensors& in) { return manual_seed(at), dropout(in[0], p); },
                                 [=](const Arrays& in) {
                                   return elementwise({in[0], kept}, [](const double* v) { return v[0] * v[1]; });
                                 }};
                     return Case{op, {x}, 0.5};
                   }});
}

void shape_kinds(std::vector<Kind>& kinds) {
  for (const char* name : {"sum", "mean", "max", "min"})
    kinds.push_back({name, [=](Draw& d) {
                       const bool is_max = name == std::string("max") || name == std::string("min");
                       const Shape shape = d.shape(0, 4, name == std::string("sum"));
                       const Op op = reduction(name, d.axes(shape.rank()), d.flip());
                       const double n = static_cast<double>(shape.numel());
                       // half a unit of the result, and n 2^-53 times the magnitudes
                       const auto of = [=](const Arrays& in) {
                         return elementwise({op.reference(in), op.reference(absolute(in))}, [=](const double* v) {
                           return 0.5 * std::abs(v[0]) + n * std::exp2(-53) / unit * v[1];
                         });
                       };
                       if (is_max) return Case{op, {d.values(shape, Values::distinct)}};
                       return Case{op, {d.values(shape)}, 1, of};
                     }});
  kinds.push_back({"reshape", [](Draw& d) {
                     Shape shape = d.shape(0, 4, true), flat;
                     for (int axis : d.order(shape.rank()))
                       flat.push_back(shape[axis < 0 ? axis + shape.rank() : axis]);
                     if (d.flip()) flat.push_back(1);
                     return Case{reshape_op(flat), {d.values(shape)}};
                   }});
  kinds.push_back({"permute", [](Draw& d) {
                     const Shape shape = d.shape(0, 5, true);
                     return Case{permute_op(d.order(shape.rank())), {d.values(shape)}};
                   }});
  kinds.push_back({"transpose", [](Draw& d) {
                     const Shape shape = d.shape(1, 4, true);
                     const int rank = shape.rank();
                     const auto axis = [&] { return static_cast<int>(d.between(-rank, rank - 1)); };
                     const int axis1 = axis(), axis2 = axis();
                     return Case{transpose_op(axis1, axis2), {d.values(shape)}};
                   }});
  kinds.push_back({"slice", [](Draw& d) {
                     const Shape shape = d.shape(1, 4, true);
                     const int axis = static_cast<int>(d.between(-shape.rank(), shape.rank() - 1));
                     const int64_t n = shape[axis < 0 ? axis + shape.rank() : axis], begin = d.below(n + 1),
                                   end = d.between(begin, n);
                     return Case{slice_op(axis, begin, end), {d.values(shape)}};
                   }});
  kinds.push_back({"concat", [](Draw& d) {
                     Shape shape = d.shape(1, 4, true);
                     const int axis = static_cast<int>(d.between(-shape.rank(), shape.rank() - 1));
                     Arrays parts;
                     for (int64_t n = d.between(1, 4); n > 0; --n) {
                       parts.push_back(d.values(shape));
                       shape[axis < 0 ? axis + shape.rank() : axis] = d.below(6);
                     }
                     return Case{concat_op(axis), parts};
                   }});
  kinds.push_back({"stack", [](Draw& d) {
                     const Shape shape = d.shape(0, 4, true);
                     Arrays parts;
                     for (int64_t n = d.between(1, 4); n > 0; --n) parts.push_back(d.values(shape));
                     return Case{stack_op(static_cast<int>(d.between(-shape.rank() - 1, shape.rank()))), parts};
                   }});
  for (bool as_embedding : {false, true})
    kinds.push_back(
        {as_embedding ? "embedding" : "gather_rows", [=](Draw& d) {
           const Shape shape = as_embedding ? d.shape(2, 2) : d.shape(1, 4);
           const int64_t n = d.below(12);
           return Case{
               gather_op(d.ids(n, shape[0]), as_embedding), {d.values(shape)}, 0, {}, 16 + static_cast<double>(n)};
         }});
}

}  // namespace property
