// Each op beside its definition: loops in double, as plain as they can be.
#include <algorithm>

#include "tests/property.h"

namespace property {
namespace {
// Where the element `index` of a larger array is in one of this shape, which is stretched to it: aligned at the last
// axis, and an axis of size 1 has its only element everywhere.
int64_t offset(const Shape& shape, const Shape& index) {
  int64_t at = 0;
  for (int i = 0; i < shape.rank(); ++i)
    at = at * shape[i] + (shape[i] == 1 ? 0 : index[index.rank() - shape.rank() + i]);
  return at;
}

// f(index of an element, its number) for all elements, in order.
template <class F>
void each(const Shape& shape, F f) {
  Shape index = shape;
  for (int64_t at = 0, n = shape.numel(); at < n; ++at) {
    for (int64_t rest = at, axis = shape.rank() - 1; axis >= 0; --axis) {
      index[static_cast<int>(axis)] = rest % shape[static_cast<int>(axis)];
      rest /= shape[static_cast<int>(axis)];
    }
    f(index, at);
  }
}

// The array whose element `index` is f(index).
template <class F>
Array fill(const Shape& shape, F f) {
  Array out(shape);
  each(shape, [&](const Shape& index, int64_t at) { out.v[at] = f(index); });
  return out;
}

int positive(int axis, int rank) { return axis < 0 ? axis + rank : axis; }

Array reshaped(Array x, const Shape& shape) {
  x.shape = shape;
  return x;
}

Array permuted(const Array& x, const std::vector<int>& axes) {
  Shape shape = x.shape;
  for (int i = 0; i < shape.rank(); ++i) shape[i] = x.shape[positive(axes[i], shape.rank())];
  return fill(shape, [&](const Shape& index) {
    Shape from = index;
    for (int i = 0; i < shape.rank(); ++i) from[positive(axes[i], shape.rank())] = index[i];
    return x.v[offset(x.shape, from)];
  });
}

Array sliced(const Array& x, int axis, int64_t begin, int64_t end) {
  Shape shape = x.shape;
  shape[axis] = end - begin;
  return fill(shape, [&](Shape index) {
    index[axis] += begin;
    return x.v[offset(x.shape, index)];
  });
}

Array joined(const Arrays& parts, int axis) {
  Shape shape = parts[0].shape;
  shape[axis] = 0;
  for (const Array& part : parts) shape[axis] += part.shape[axis];
  return fill(shape, [&](Shape index) {
    size_t part = 0;
    for (; index[axis] >= parts[part].shape[axis]; ++part) index[axis] -= parts[part].shape[axis];
    return parts[part].v[offset(parts[part].shape, index)];
  });
}

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

Shape stretched(const std::vector<Shape>& shapes) {
  Shape out;
  int rank = 0;
  for (const Shape& shape : shapes) rank = std::max(rank, shape.rank());
  for (int i = 0; i < rank; ++i) {
    out.push_back(1);
    for (const Shape& shape : shapes) {
      const int axis = i - rank + shape.rank();
      if (axis >= 0 && shape[axis] != 1) out[i] = shape[axis];
    }
  }
  return out;
}

Array elementwise(const Arrays& in, const std::function<double(const double*)>& f) {
  std::vector<Shape> shapes;
  for (const Array& x : in) shapes.push_back(x.shape);
  return fill(stretched(shapes), [&](const Shape& index) {
    double x[4];
    for (size_t k = 0; k < in.size(); ++k) x[k] = in[k].v[offset(in[k].shape, index)];
    return f(x);
  });
}

Array map(const Array& x, double (*f)(double)) {
  Array y = x;
  for (double& value : y.v) value = f(value);
  return y;
}

double largest(const Array& x) {
  double most = 0;
  for (double value : x.v) most = std::isinf(value) ? most : std::max(most, std::abs(value));
  return most;
}

Array matmul(const Array& a, const Array& b, bool ta, bool tb) {
  const int ra = a.shape.rank(), rb = b.shape.rank();
  const int64_t K = a.shape[ta ? ra - 2 : ra - 1];
  Shape shape = stretched({Shape(a.shape.begin(), a.shape.end() - 2), Shape(b.shape.begin(), b.shape.end() - 2)});
  shape.push_back(a.shape[ta ? ra - 1 : ra - 2]);
  shape.push_back(b.shape[tb ? rb - 2 : rb - 1]);
  const int last = shape.rank() - 1;
  return fill(shape, [&](const Shape& index) {
    Shape in_a = index, in_b = index;
    double sum = 0;
    for (int64_t k = 0; k < K; ++k) {
      in_a[last - 1] = ta ? k : index[last - 1], in_a[last] = ta ? index[last - 1] : k;
      in_b[last - 1] = tb ? index[last] : k, in_b[last] = tb ? k : index[last];
      sum += a.v[offset(a.shape, in_a)] * b.v[offset(b.shape, in_b)];
    }
    return sum;
  });
}

Array rows(const Array& x, int64_t width, const std::function<void(const double*, double*)>& f) {
  Array y(x.shape);
  for (size_t at = 0; at < x.v.size(); at += width) f(x.v.data() + at, y.v.data() + at);
  return y;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double gelu(double x) { return x * std::erfc(-x / std::sqrt(2.0)) / 2; }

Op unary(const std::string& name, Unary run, double (*f)(double)) {
  return {name, [=](const Tensors& x) { return run(x[0]); }, [=](const Arrays& x) { return map(x[0], f); }};
}

Op binary(const std::string& name, Binary run, double (*f)(double, double)) {
  return {name, [=](const Tensors& x) { return run(x[0], x[1]); },
          [=](const Arrays& x) { return elementwise(x, [f](const double* v) { return f(v[0], v[1]); }); }};
}

Op reduction(const std::string& name, const std::vector<int>& axes, bool keepdim) {
  const Reduction run = name == "sum" ? sum : name == "mean" ? mean : max;
  const auto reference = [=](const Arrays& in) {
    const Shape& shape = in[0].shape;
    std::vector<bool> reduced(shape.rank(), axes.empty());
    for (int axis : axes) reduced[positive(axis, shape.rank())] = true;
    Shape kept = shape, squeezed;
    for (int i = 0; i < shape.rank(); ++i) {
      if (reduced[i]) kept[i] = 1;
      if (!reduced[i]) squeezed.push_back(shape[i]);
    }
    Array total(kept), count(kept), largest(kept, -INFINITY);
    each(shape, [&](const Shape& index, int64_t at) {
      const int64_t to = offset(kept, index);
      total.v[to] += in[0].v[at];
      count.v[to] += 1;
      largest.v[to] = std::max(largest.v[to], in[0].v[at]);
    });
    for (size_t i = 0; name == "mean" && i < total.v.size(); ++i) total.v[i] /= count.v[i];
    return reshaped(name == "max" ? largest : total, keepdim ? kept : squeezed);
  };
  return {name + (keepdim ? " keepdim" : ""), [=](const Tensors& x) { return run(x[0], axes, keepdim); }, reference};
}

Op matmul_op(bool ta, bool tb) {
  return {std::string("matmul") + (ta ? " a^T" : "") + (tb ? " b^T" : ""),
          [=](const Tensors& x) { return matmul(x[0], x[1], ta, tb); },
          [=](const Arrays& x) { return matmul(x[0], x[1], ta, tb); }};
}

Op linear_op() {
  return {"linear", [](const Tensors& x) { return linear(x[0], x[1], x.size() > 2 ? x[2] : Tensor()); },
          [](const Arrays& x) {
            Shape matrix{1, x[0].shape.back()}, shape = x[0].shape;  // x may be a single row
            if (x[0].shape.rank() > 1) matrix = x[0].shape;
            shape[shape.rank() - 1] = x[1].shape[0];
            const Array y = reshaped(matmul(reshaped(x[0], matrix), x[1], false, true), shape);
            return x.size() < 3 ? y : elementwise({y, x[2]}, [](const double* v) { return v[0] + v[1]; });
          }};
}

Op reshape_op(const Shape& shape) {
  return {"reshape",
          [=](const Tensors& x) {
            return reshape(x[0], {shape.begin(), shape.end()});
          },
          [=](const Arrays& x) { return reshaped(x[0], shape); }};
}

Op permute_op(const std::vector<int>& axes) {
  return {"permute", [=](const Tensors& x) { return permute(x[0], axes); },
          [=](const Arrays& x) { return permuted(x[0], axes); }};
}

Op transpose_op(int axis1, int axis2) {
  return {"transpose", [=](const Tensors& x) { return transpose(x[0], axis1, axis2); },
          [=](const Arrays& x) {
            std::vector<int> axes;
            for (int i = 0; i < x[0].shape.rank(); ++i) axes.push_back(i);
            const int rank = x[0].shape.rank();
            std::swap(axes[positive(axis1, rank)], axes[positive(axis2, rank)]);
            return permuted(x[0], axes);
          }};
}

Op where_op(const Array& mask) {
  return {"where", [=](const Tensors& x) { return where(to_tensor(mask), x[0], x[1]); },
          [=](const Arrays& x) {
            return elementwise({mask, x[0], x[1]}, [](const double* v) { return v[0] != 0 ? v[1] : v[2]; });
          }};
}

Op masked_fill_op(const Array& mask, Scalar value) {
  return {"masked_fill", [=](const Tensors& x) { return masked_fill(x[0], to_tensor(mask), value); },
          [=](const Arrays& x) {
            return elementwise({mask, x[0]},
                               [=](const double* v) { return v[0] != 0 ? static_cast<double>(value) : v[1]; });
          }};
}

Op slice_op(int axis, int64_t begin, int64_t end) {
  return {"slice", [=](const Tensors& x) { return slice(x[0], axis, begin, end); },
          [=](const Arrays& x) { return sliced(x[0], positive(axis, x[0].shape.rank()), begin, end); }};
}

Op concat_op(int axis) {
  return {"concat", [=](const Tensors& x) { return concat(x, axis); },
          [=](const Arrays& x) { return joined(x, positive(axis, x[0].shape.rank())); }};
}

Op stack_op(int axis) {
  return {"stack", [=](const Tensors& x) { return stack(x, axis); },
          [=](const Arrays& x) {
            const int at = positive(axis, x[0].shape.rank() + 1);
            Shape raised;
            for (int i = 0; i <= x[0].shape.rank(); ++i) raised.push_back(i == at ? 1 : x[0].shape[i < at ? i : i - 1]);
            Arrays parts;
            for (const Array& part : x) parts.push_back(reshaped(part, raised));
            return joined(parts, at);
          }};
}

Op gather_op(const std::vector<int32_t>& index, bool as_embedding) {
  return {as_embedding ? "embedding" : "gather_rows",
          [=](const Tensors& x) { return (as_embedding ? embedding : gather_rows)(x[0], index); },
          [=](const Arrays& x) {
            Shape shape = x[0].shape;
            shape[0] = static_cast<int64_t>(index.size());
            return fill(shape, [&](Shape at) {
              at[0] = index[at[0]];
              return x[0].v[offset(x[0].shape, at)];
            });
          }};
}

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
            [=](const Arrays& x) { return cross_entropy(matmul(x[0], x[1], false, true), targets, options); }};
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
            Array z = matmul(x[0], x[1], false, true);
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
