// Random shapes, values and flags for every op: it is its definition, forward and backward.
#include "tests/property.h"

#include <doctest/doctest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <set>

using namespace property;

namespace {
constexpr double unit = std::numeric_limits<Scalar>::epsilon();

// A kind of random case. `name` begins with the function's.
struct Kind {
  std::string name;
  std::function<Case(Draw&)> draw;
};

Array absolute(const Array& x) { return map(x, std::abs); }
Arrays absolute(Arrays in) {
  for (Array& x : in) x = absolute(x);
  return in;
}
Scalar number(Draw& d) { return d.number(-3, 3); }

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
      {"sigmoid", sigmoid, property::sigmoid, Values::any, 3, 0, true},
      {"relu", relu, [](double x) { return std::max(x, 0.0); }, Values::distinct, 0, 0, true},
      {"gelu", gelu, property::gelu, Values::any, 4, 1, false},
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
  for (const char* name : {"sum", "mean", "max"})
    kinds.push_back({name, [=](Draw& d) {
                       const bool is_max = name == std::string("max");
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

void matrix_kinds(std::vector<Kind>& kinds) {
  kinds.push_back({"matmul", [](Draw& d) {
                     const bool ta = d.flip(), tb = d.flip();
                     const auto size = [&] { return d.below(30) == 0 ? 0 : d.size(); };
                     const int64_t M = size(), K = size(), N = size();
                     Shape batch, a, b;
                     for (int64_t rank = d.large ? 0 : d.below(3); rank > 0; --rank) batch.push_back(d.between(1, 3));
                     a = d.stretchable(batch), b = d.stretchable(batch);
                     a.push_back(ta ? K : M), a.push_back(ta ? M : K);
                     b.push_back(tb ? N : K), b.push_back(tb ? K : N);
                     const auto of = [=](const Arrays& in) {
                       return property::matmul(absolute(in[0]), absolute(in[1]), ta, tb);
                     };
                     return Case{matmul_op(ta, tb),
                                 {d.values(a), d.values(b)},
                                 0.5 * static_cast<double>(K) + 0.5,
                                 of,
                                 16 + 0.5 * static_cast<double>(9 * std::max(M, N))};
                   }});
  kinds.push_back({"linear", [](Draw& d) {
                     Shape x = d.shape(1, 3);
                     const int64_t in = x.back(), out = d.size();
                     Arrays inputs = {d.values(x), d.values({out, in})};
                     if (d.flip()) inputs.push_back(d.values({out}));
                     const Op op = linear_op();
                     const auto of = [=](const Arrays& v) { return op.reference(absolute(v)); };
                     return Case{op, inputs, 0.5 * static_cast<double>(in) + 1, of,
                                 16 + 0.5 * static_cast<double>(std::max(x.numel(), out))};
                   }});
}

void row_kinds(std::vector<Kind>& kinds) {
  kinds.push_back({"softmax", [](Draw& d) {
                     const Scalar scale = d.flip() ? 1 : d.number(0.1, 3);
                     const Op op = softmax_op(scale);
                     const auto of = [=](const Arrays& in) {
                       Array y = op.reference(in);
                       for (double& value : y.v) value *= 8 + static_cast<double>(scale) * 2 * largest(in[0]);
                       return y;
                     };
                     Array x = d.values(d.shape(1, 4));
                     for (double& value : x.v) value = d.below(40) == 0 ? -INFINITY : value;
                     return Case{op, {x}, 1, of, 60, false};
                   }});
  kinds.push_back({"log_softmax", [](Draw& d) {
                     // Two units of the largest of x - max x, log1p and their difference; and log1p's own error.
                     const Op op = log_softmax_op();
                     const auto of = [=](const Arrays& in) {
                       return rows(op.reference(in), in[0].shape.back(), [&](const double* from, double* to) {
                         std::vector<double> sorted(from, from + in[0].shape.back());
                         std::sort(sorted.rbegin(), sorted.rend());
                         const double log1p = -sorted[0], ahead = sorted.size() > 1 ? sorted[0] - sorted[1] : 0;
                         for (size_t i = 0; i < sorted.size(); ++i)
                           to[i] = 2 * std::max(std::abs(from[i]), log1p) + (5 + 0.5 * ahead) * log1p;
                       });
                     };
                     Array x = d.values(d.shape(1, 4));
                     const Scalar scale = d.flip() ? 1 : d.number(1, 10);
                     for (double& value : x.v) value = static_cast<double>(scale * static_cast<Scalar>(value));
                     return Case{op, {x}, 1, of, 60, false};
                   }});
  kinds.push_back({"cross_entropy sure", [](Draw& d) {
                     // Two to six classes, of which one is the target, ahead by up to 80.
                     const int64_t N = d.between(1, 5), V = d.between(2, 6);
                     const std::vector<int32_t> targets = d.ids(N, V);
                     Array x({N, V});
                     const double ahead = static_cast<double>(d.number(0, 80)),
                                  offset = static_cast<double>(d.number(-50, 50));
                     for (int64_t i = 0; i < N * V; ++i)
                       x.v[i] = static_cast<double>(
                           static_cast<Scalar>(offset + d.normal() + (targets[i / V] == i % V ? ahead : 0)));
                     // to 50 roundings, and one more for each unit that the largest is ahead
                     return Case{cross_entropy_op(targets, {}, false), {x}, 25 + 0.5 * (ahead + 8), {}, 60, false};
                   }});
  for (bool with_linear : {false, true})
    kinds.push_back({with_linear ? "linear_cross_entropy" : "cross_entropy", [=](Draw& d) {
                       const int64_t N = d.size(), V = d.size(), D = d.between(1, 9);
                       std::vector<int32_t> targets = d.ids(N, V);
                       CrossEntropyOptions options;
                       if (d.flip()) options.label_smoothing = d.number(0, 0.9);
                       if (d.flip()) options.normalizer = d.between(1, 50);
                       if (d.flip()) options.ignore_index = static_cast<int32_t>(d.below(V));
                       for (int32_t& target : targets)
                         if (d.below(5) == 0) target = options.ignore_index;
                       if (options.ignore_index != -100 || d.below(5) == 0)
                         options.normalizer = std::max<int64_t>(options.normalizer, 1);
                       if (options.normalizer == 0) targets[0] = static_cast<int32_t>(d.below(V));
                       const Op op = cross_entropy_op(targets, options, with_linear);
                       if (!with_linear) return Case{op, {d.values({N, V})}, 25, {}, 60, false};
                       const auto of = [=](const Arrays& in) {  // and what the logits are off
                         const Array sizes = property::matmul(absolute(in[0]), absolute(in[1]), false, true);
                         const double counted =
                             options.normalizer ? static_cast<double>(N) / static_cast<double>(options.normalizer) : 1;
                         return Array(
                             {}, 25 * op.reference(in).v[0] + counted * static_cast<double>(D + 1) * largest(sizes));
                       };
                       return Case{op, {d.values({N, D}), d.values({V, D})}, 1, of, 400, false};
                     }});
  kinds.push_back({"layer_norm", [](Draw& d) {
                     const Scalar eps = d.flip() ? Scalar(1e-5) : d.number(0.001, 1);
                     const Shape x = d.shape(1, 4);
                     const Op op = layer_norm_op(eps);
                     const auto of = [=](const Arrays& in) {
                       return rows(op.reference(in), in[0].shape.back(), [&](const double* from, double* to) {
                         double most = 0;
                         for (int64_t i = 0; i < in[0].shape.back(); ++i) most = std::max(most, std::abs(from[i]));
                         std::fill_n(to, in[0].shape.back(), most);
                       });
                     };
                     return Case{op, {d.values(x), d.values({x.back()}), d.values({x.back()})}, 40, of, 400, false};
                   }});
  kinds.push_back({"rms_norm", [](Draw& d) {
                     const Scalar eps = d.flip() ? Scalar(1e-5) : d.number(0.001, 1);
                     Shape x = d.shape(1, 4);
                     const Shape weight{x.back()};
                     x[x.rank() - 1] *= d.between(1, 4);
                     return Case{rms_norm_op(eps), {d.values(x), d.values(weight)}, 40, {}, 400, false};
                   }});
  kinds.push_back({"rope", [](Draw& d) {
                     const int heads = static_cast<int>(d.between(1, 4));
                     const Shape x{d.size(), heads * 2 * d.between(1, d.large ? 64 : 9)};
                     const Op op = rope_op(heads, d.ids(x[0], d.flip() ? 10 : 2000), d.flip() ? 10000 : 100);
                     const auto of = [](const Arrays& in) {
                       return rows(in[0], 2, [](const double* from, double* to) {
                         to[0] = to[1] = std::abs(from[0]) + std::abs(from[1]);
                       });
                     };
                     return Case{op, {d.values(x)}, 1.5, of};
                   }});
  kinds.push_back(
      {"sinusoids", [](Draw& d) {
         return Case{sinusoids_op(d.ids(d.below(20), d.flip() ? 10 : 2000), 2 * d.between(1, 20)), {}, 0.51};
       }});
}

// Sentences end to end, or with gaps between them.
Spans spans(Draw& d, int64_t sentences, bool gaps, int64_t* end) {
  Spans spans;
  *end = 0;
  for (; sentences > 0; --sentences) {
    *end += gaps ? d.below(3) : 0;
    spans.push_back({*end, d.below(12) == 0 ? 0 : d.size()});
    *end += spans.back().length;
  }
  *end += gaps ? d.below(3) : 0;
  return spans;
}

void attention_kinds(std::vector<Kind>& kinds) {
  for (bool plain : {false, true})
    for (bool diff : {false, true})
      kinds.push_back(
          {std::string(plain ? "plain_" : "") + (diff ? "diff_attention" : "attention"), [=](Draw& d) {
             const int64_t h = d.between(1, 3), width = d.between(1, 5), e = d.between(1, 5), sentences = d.below(4);
             const bool common_keys = d.flip(), per_token = d.flip(), gaps = !plain && d.flip();
             int64_t N, M;
             AttentionLayout layout{static_cast<int>(h), spans(d, sentences, gaps, &N), {}, d.flip()};
             if (!gaps && d.flip())
               layout.keys = layout.queries, M = N;
             else
               layout.keys = spans(d, sentences, gaps, &M);
             const int64_t maps = diff ? 2 : 1;
             Arrays in = {d.values({N, h * maps * width}), d.values({M, h * (common_keys ? 1 : maps) * width}),
                          d.values({M, h * e})};
             if (diff) in.push_back(d.values(per_token ? Shape{N, h} : Shape{}));
             // Off are the scores, their exponentials and the sum over the keys.
             const auto of = [=](const Arrays& v) {
               const double score =
                   static_cast<double>(width) * largest(v[0]) * largest(v[1]) / std::sqrt(static_cast<double>(width));
               const double lambda = diff ? 1 + largest(v[3]) : 1;
               return Array({N, h * e}, (20 + score * static_cast<double>(width + 3)) * lambda * largest(v[2]));
             };
             return Case{attention_op(diff, layout, plain), in, 1, of, 400, false};
           }});
  kinds.push_back(
      {"split_heads", [](Draw& d) {
         const int64_t heads = d.between(1, 4), N = d.size(), begin = d.below(N + 1);
         return Case{split_heads_op({begin, d.below(N - begin + 1)}, heads), {d.values({N, heads * d.between(1, 6)})}};
       }});
  kinds.push_back(
      {"attention_map", [](Draw& d) {
         const int64_t heads = d.between(1, 3), width = d.between(1, 5);
         const Op op = attention_map_op(d.flip());
         const auto of = [=](const Arrays& in) {
           Array y = op.reference(in);
           const double score =
               static_cast<double>(width) * largest(in[0]) * largest(in[1]) / std::sqrt(static_cast<double>(width));
           for (double& value : y.v) value *= 20 + score * static_cast<double>(width + 3);
           return y;
         };
         return Case{op, {d.values({heads, d.size(), width}), d.values({heads, d.size(), width})}, 1, of, 400, false};
       }});
}

std::vector<Kind> all_kinds() {
  std::vector<Kind> kinds;
  elementwise_kinds(kinds);
  shape_kinds(kinds);
  matrix_kinds(kinds);
  row_kinds(kinds);
  attention_kinds(kinds);
  return kinds;
}
}  // namespace

TEST_CASE("property: every op is its definition, and its gradient the definition's") {
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);  // waking others for tiny results takes longer than the work
  for (const Kind& kind : all_kinds()) {
    Quotients all;
    for (int i = 0; i < cases(200); ++i) {
      Draw draw(kind.name, i);
      INFO("DT_PROPERTY_SEED=", seed(), ", ", kind.name, ", case ", i);
      const Case c = kind.draw(draw);
      const Quotients one = check(c, draw);
      all.taken += one.taken, all.kinks += one.kinks;
    }
    CHECK_MESSAGE(all.kinks <= 2 + all.taken / 100, kind.name, " has ", all.kinks, " kinks in ", all.taken,
                  " elements");
  }
  omp_set_num_threads(threads);
}

TEST_CASE("property: every op that core/ops.h declares has a kind of random case for each of its declarations") {
  std::map<std::string, int> have;
  for (const Kind& kind : all_kinds()) ++have[kind.name.substr(0, kind.name.find(' '))];
  std::ifstream header("core/ops.h");
  REQUIRE_MESSAGE(header, "run the tests from the project's folder");
  std::map<std::string, int> declared;
  for (std::string line; std::getline(header, line);)
    if (line.starts_with("Tensor ")) ++declared[line.substr(7, line.find('(') - 7)];
  for (const auto& [name, count] : declared) CHECK_MESSAGE(have[name] >= count, name, " is declared ", count, " times");
  CHECK(declared.size() > 40);
}
