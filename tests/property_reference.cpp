// Ops on elements, those that move or reduce them, and products, each beside its definition: loops in double, as plain
// as they can be.
#include <algorithm>
#include <map>

#include "tests/property_arrays.h"

namespace property {
namespace {
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

Array matmul_of(const Array& a, const Array& b, bool ta, bool tb) {
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

double sigmoid_of(double x) { return 1 / (1 + std::exp(-x)); }
double gelu_of(double x) { return x * std::erfc(-x / std::sqrt(2.0)) / 2; }

Op unary(const std::string& name, Unary run, double (*f)(double)) {
  return {name, [=](const Tensors& x) { return run(x[0]); }, [=](const Arrays& x) { return map(x[0], f); }};
}

Op binary(const std::string& name, Binary run, double (*f)(double, double)) {
  return {name, [=](const Tensors& x) { return run(x[0], x[1]); },
          [=](const Arrays& x) { return elementwise(x, [f](const double* v) { return f(v[0], v[1]); }); }};
}

Op reduction(const std::string& name, const std::vector<int>& axes, bool keepdim) {
  const std::map<std::string, Reduction> runs = {
      {"sum", sum}, {"mean", mean}, {"max", max}, {"min", min}, {"prod", prod}};
  const Reduction run = runs.at(name);
  const auto reference = [=](const Arrays& in) {
    const Shape& shape = in[0].shape;
    std::vector<bool> reduced(shape.rank(), axes.empty());
    for (int axis : axes) reduced[positive(axis, shape.rank())] = true;
    Shape kept = shape, squeezed;
    for (int i = 0; i < shape.rank(); ++i) {
      if (reduced[i]) kept[i] = 1;
      if (!reduced[i]) squeezed.push_back(shape[i]);
    }
    Array total(kept), count(kept), largest(kept, -INFINITY), least(kept, INFINITY), product(kept, 1);
    each(shape, [&](const Shape& index, int64_t at) {
      const int64_t to = offset(kept, index);
      total.v[to] += in[0].v[at];
      count.v[to] += 1;
      largest.v[to] = std::max(largest.v[to], in[0].v[at]);
      least.v[to] = std::min(least.v[to], in[0].v[at]);
      product.v[to] *= in[0].v[at];
    });
    for (size_t i = 0; name == "mean" && i < total.v.size(); ++i) total.v[i] /= count.v[i];
    const Array& y = name == "max" ? largest : name == "min" ? least : name == "prod" ? product : total;
    return reshaped(y, keepdim ? kept : squeezed);
  };
  return {name + (keepdim ? " keepdim" : ""), [=](const Tensors& x) { return run(x[0], axes, keepdim); }, reference};
}

Op matmul_op(bool ta, bool tb) {
  return {std::string("matmul") + (ta ? " a^T" : "") + (tb ? " b^T" : ""),
          [=](const Tensors& x) { return matmul(x[0], x[1], ta, tb); },
          [=](const Arrays& x) { return matmul_of(x[0], x[1], ta, tb); }};
}

Op linear_op() {
  return {"linear", [](const Tensors& x) { return linear(x[0], x[1], x.size() > 2 ? x[2] : Tensor()); },
          [](const Arrays& x) {
            Shape matrix{1, x[0].shape.back()}, shape = x[0].shape;  // x may be a single row
            if (x[0].shape.rank() > 1) matrix = x[0].shape;
            shape[shape.rank() - 1] = x[1].shape[0];
            const Array y = reshaped(matmul_of(reshaped(x[0], matrix), x[1], false, true), shape);
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

}  // namespace property
