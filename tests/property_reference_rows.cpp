// Ops on rows and sentences, each beside its definition: loops in double, as plain as they can be.
#include <algorithm>

#include "tests/property_arrays.h"

namespace property {
namespace {
void softmax_of(const double* x, double* y, int64_t n, double scale) {
  const double top = n ? *std::max_element(x, x + n) : 0;
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += y[i] = std::isinf(top) ? 0 : std::exp(scale * (x[i] - top));
  for (int64_t i = 0; i < n; ++i) y[i] = sum == 0 ? 0 : y[i] / sum;
}

// The others' share of sum_i exp(x_i - max x), whose largest term is 1.
double rest_of(const double* x, int64_t n) {
  const int64_t top = std::max_element(x, x + n) - x;
  double rest = 0;
  for (int64_t i = 0; i < n; ++i) rest += i == top ? 0 : std::exp(x[i] - x[top]);
  return rest;
}

Array cross_entropy(const Array& logits, const std::vector<int32_t>& targets, const CrossEntropyOptions& options) {
  const int64_t V = logits.shape[1];
  const double s = static_cast<double>(options.label_smoothing);
  double total = 0;
  int64_t counted = 0;
  for (size_t n = 0; n < targets.size(); ++n) {
    if (targets[n] == options.ignore_index) continue;
    const double* x = logits.v.data() + n * V;
    const double top = *std::max_element(x, x + V), log_sum = std::log1p(rest_of(x, V));
    double others = 0;  // -sum_v log p_v
    for (int64_t v = 0; v < V; ++v) others += log_sum + (top - x[v]);
    total += (1 - s) * (log_sum + (top - x[targets[n]])) + s * others / static_cast<double>(V);
    ++counted;
  }
  return Array({}, total / static_cast<double>(options.normalizer ? options.normalizer : counted));
}

// out = (A1 - lambda A2) V for each sentence and head, or A1 V.
Array attend(const Arrays& in, const AttentionLayout& layout, bool diff) {
  const Array &q = in[0], &k = in[1], &v = in[2];
  const int64_t h = layout.heads, maps = diff ? 2 : 1, e = v.shape[1] / h, d = q.shape[1] / (h * maps);
  const int64_t key_maps = k.shape[1] == q.shape[1] ? maps : 1;
  Array out({q.shape[0], v.shape[1]});
  for (size_t b = 0; b < layout.queries.size(); ++b)
    for (int64_t i = 0; i < layout.queries[b].length; ++i)
      for (int64_t head = 0; head < h; ++head)
        for (int64_t m = 0; m < maps; ++m) {
          const int64_t S = layout.keys[b].length, row = layout.queries[b].begin + i;
          const int64_t sees = layout.causal ? std::clamp<int64_t>(i + S - layout.queries[b].length + 1, 0, S) : S;
          std::vector<double> z(sees, 0), a(sees, 0);
          for (int64_t j = 0; j < sees; ++j)
            for (int64_t c = 0; c < d; ++c)
              z[j] += q.v[row * q.shape[1] + (head * maps + m) * d + c] *
                      k.v[(layout.keys[b].begin + j) * k.shape[1] + (head * key_maps + m % key_maps) * d + c];
          softmax_of(z.data(), a.data(), sees, 1 / std::sqrt(static_cast<double>(d)));
          const double weight = m == 0 ? 1 : -in[3].v[in[3].v.size() == 1 ? 0 : row * h + head];
          for (int64_t j = 0; j < sees; ++j)
            for (int64_t c = head * e; c < (head + 1) * e; ++c)
              out.v[row * h * e + c] += weight * a[j] * v.v[(layout.keys[b].begin + j) * h * e + c];
        }
  return out;
}
}  // namespace

Op softmax_op(Scalar scale) {
  return {"softmax", [=](const Tensors& x) { return softmax(x[0], scale); },
          [=](const Arrays& x) {
            const int64_t n = x[0].shape.back();
            return rows(x[0], n, [&](const double* from, double* to) { softmax_of(from, to, n, scale); });
          }};
}

Op log_softmax_op() {
  return {"log_softmax", [](const Tensors& x) { return log_softmax(x[0]); },
          [](const Arrays& x) {
            const int64_t n = x[0].shape.back();
            return rows(x[0], n, [&](const double* from, double* to) {
              const double top = *std::max_element(from, from + n), log_sum = std::log1p(rest_of(from, n));
              for (int64_t i = 0; i < n; ++i) to[i] = (from[i] - top) - log_sum;
            });
          }};
}

Op cross_entropy_op(const std::vector<int32_t>& targets, const CrossEntropyOptions& options, bool with_linear) {
  if (with_linear)
    return {"linear_cross_entropy",
            [=](const Tensors& x) { return linear_cross_entropy(x[0], x[1], targets, options); },
            [=](const Arrays& x) { return cross_entropy(matmul_of(x[0], x[1], false, true), targets, options); }};
  return {"cross_entropy", [=](const Tensors& x) { return cross_entropy(x[0], targets, options); },
          [=](const Arrays& x) { return cross_entropy(x[0], targets, options); }};
}

Op layer_norm_op(Scalar eps) {
  return {"layer_norm", [=](const Tensors& x) { return layer_norm(x[0], x[1], x[2], eps); },
          [=](const Arrays& x) {
            const int64_t n = x[0].shape.back();
            return rows(x[0], n, [&](const double* from, double* to) {
              const double first = from[0];  // off all of them: little is lost if they are nearly the same
              double mean = 0, variance = 0;
              for (int64_t i = 0; i < n; ++i) mean += (from[i] - first) / static_cast<double>(n);
              const auto centred = [&](int64_t i) { return from[i] - first - mean; };
              for (int64_t i = 0; i < n; ++i) variance += centred(i) * centred(i) / static_cast<double>(n);
              for (int64_t i = 0; i < n; ++i)
                to[i] = centred(i) / std::sqrt(variance + static_cast<double>(eps)) * x[1].v[i] + x[2].v[i];
            });
          }};
}

Op rms_norm_op(Scalar eps) {
  return {"rms_norm", [=](const Tensors& x) { return rms_norm(x[0], x[1], eps); },
          [=](const Arrays& x) {
            const int64_t n = x[1].shape[0];
            return rows(x[0], n, [&](const double* from, double* to) {
              double square = 0;
              for (int64_t i = 0; i < n; ++i) square += from[i] * from[i] / static_cast<double>(n);
              for (int64_t i = 0; i < n; ++i)
                to[i] = from[i] / std::sqrt(square + static_cast<double>(eps)) * x[1].v[i];
            });
          }};
}

Op rope_op(int heads, const std::vector<int32_t>& positions, double base) {
  return {"rope", [=](const Tensors& x) { return rope(x[0], heads, positions, base); },
          [=](const Arrays& x) {
            const int64_t D = x[0].shape[1], d = D / heads;
            Array y(x[0].shape);
            for (size_t at = 0; at < y.v.size(); at += 2) {
              const double pair = static_cast<double>(static_cast<int64_t>(at) % d);  // 2i of its head
              const double angle = positions[at / D] * std::pow(base, -pair / static_cast<double>(d));
              y.v[at] = x[0].v[at] * std::cos(angle) - x[0].v[at + 1] * std::sin(angle);
              y.v[at + 1] = x[0].v[at] * std::sin(angle) + x[0].v[at + 1] * std::cos(angle);
            }
            return y;
          }};
}

Op sinusoids_op(const std::vector<int32_t>& positions, int64_t width) {
  return {"sinusoids", [=](const Tensors&) { return sinusoids(positions, width); },
          [=](const Arrays&) {
            return fill({static_cast<int64_t>(positions.size()), width}, [&](const Shape& index) {
              const double pair = static_cast<double>(index[1] / 2 * 2);
              const double angle = positions[index[0]] * std::pow(10000.0, -pair / static_cast<double>(width));
              return index[1] % 2 ? std::cos(angle) : std::sin(angle);
            });
          }};
}

Op split_heads_op(const Span& span, int64_t heads) {
  return {"split_heads", [=](const Tensors& x) { return split_heads(x[0], span, heads); },
          [=](const Arrays& x) {
            const int64_t D = x[0].shape[1], w = D / heads;
            return fill({heads, span.length, w}, [&](const Shape& index) {
              return x[0].v[(span.begin + index[1]) * D + index[0] * w + index[2]];
            });
          }};
}

Op attention_map_op(bool causal) {
  return {"attention_map", [=](const Tensors& x) { return attention_map(x[0], x[1], causal); },
          [=](const Arrays& x) {
            const int64_t S = x[1].shape[1], T = x[0].shape[1];
            Array z = matmul_of(x[0], x[1], false, true);
            each(z.shape, [&](const Shape& index, int64_t at) {
              if (causal && index[2] > index[1] + S - T) z.v[at] = -INFINITY;
            });
            const double scale = 1 / std::sqrt(static_cast<double>(x[0].shape[2]));
            return S ? rows(z, S, [&](const double* from, double* to) { softmax_of(from, to, S, scale); }) : z;
          }};
}

Op attention_op(bool diff, const AttentionLayout& layout, bool plain) {
  return {std::string(plain ? "plain_" : "") + (diff ? "diff_attention" : "attention"),
          [=](const Tensors& x) {
            if (!diff) return (plain ? plain_attention : attention)(x[0], x[1], x[2], layout);
            return (plain ? plain_diff_attention : diff_attention)(x[0], x[1], x[2], x[3], layout);
          },
          [=](const Arrays& x) { return attend(x, layout, diff); }};
}

}  // namespace property
