// Random cases of the ops on matrices, rows and sentences.
#include <algorithm>

#include "tests/property_arrays.h"

namespace property {
namespace {
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
}  // namespace

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
                       return matmul_of(absolute(in[0]), absolute(in[1]), ta, tb);
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
                       const double units = 8 + static_cast<double>(scale) * 2 * largest(in[0]);
                       for (double& value : y.v) value *= units;
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
                         const Array sizes = matmul_of(absolute(in[0]), absolute(in[1]), false, true);
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

}  // namespace property
