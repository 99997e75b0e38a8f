// Random cases of the ops that move elements, pick them or slide a window over them, each beside its definition.
#include <algorithm>

#include "tests/property_arrays.h"

namespace property {
namespace {
// x[f(place)] in this shape.
Op move(const std::string& name, std::function<Tensor(const Tensors&)> run, const Shape& shape,
        std::function<Shape(const Shape&)> f) {
  return {name, std::move(run), [=](const Arrays& x) {
            return fill(shape, [&](const Shape& at) { return x[0].v[offset(x[0].shape, f(at))]; });
          }};
}

// The definition of a convolution: one loop for each index of its formula.
Array convolved(const Arrays& in, const ConvOptions& o) {
  const Array &x = in[0], &w = in[1];
  const auto size = [&](int axis) {
    return (x.shape[axis] + 2 * o.padding - o.dilation * (w.shape[axis] - 1) - 1) / o.stride + 1;
  };
  const int64_t group = w.shape[0] / o.groups, channels = w.shape[1];
  return fill({x.shape[0], w.shape[0], size(2), size(3)}, [&](const Shape& at) {
    double sum = in.size() > 2 ? in[2].v[at[1]] : 0;
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t p = 0; p < w.shape[2]; ++p)
        for (int64_t q = 0; q < w.shape[3]; ++q) {
          const int64_t i = at[2] * o.stride + p * o.dilation - o.padding;
          const int64_t j = at[3] * o.stride + q * o.dilation - o.padding;
          if (i < 0 || j < 0 || i >= x.shape[2] || j >= x.shape[3]) continue;
          sum += w.v[offset(w.shape, {at[1], c, p, q})] *
                 x.v[offset(x.shape, {at[0], at[1] / group * channels + c, i, j})];
        }
    return sum;
  });
}
Index random_index(Draw& d, const Shape& shape, int axis) {
  const Shape sizes = with(shape, axis, d.between(0, 5));
  return {d.ids(sizes.numel(), shape[axis]), sizes};
}
}  // namespace

void pieces_that_move(std::vector<Kind>& kinds) {
  kinds.push_back({"squeeze", [](Draw& d) {
                     Shape shape = d.shape(1, 4, true);
                     const int axis = an_axis(d, shape.rank()), at = positive(axis, shape.rank());
                     shape[at] = 1;
                     const Op op{"squeeze", [=](const Tensors& x) { return squeeze(x[0], axis); },
                                 [=](Arrays x) { return x[0].shape = without(shape, at), x[0]; }};
                     return Case{op, {d.values(shape)}};
                   }});
  kinds.push_back({"unsqueeze", [](Draw& d) {
                     const Shape shape = d.shape(0, 4, true);
                     const int axis = an_axis(d, shape.rank() + 1), at = positive(axis, shape.rank() + 1);
                     Shape raised;
                     for (int i = 0; i <= shape.rank(); ++i) raised.push_back(i == at ? 1 : shape[i < at ? i : i - 1]);
                     const Op op{"unsqueeze", [=](const Tensors& x) { return unsqueeze(x[0], axis); },
                                 [=](Arrays x) { return x[0].shape = raised, x[0]; }};
                     return Case{op, {d.values(shape)}};
                   }});
  kinds.push_back({"expand", [](Draw& d) {
                     const Shape shape = d.shape(0, 4);
                     const auto run = [=](const Tensors& x) { return expand(x[0], shape); };
                     return Case{move("expand", run, shape, [](const Shape& at) { return at; }),
                                 {d.values(d.stretchable(shape))},
                                 0,
                                 {},
                                 16 + static_cast<double>(shape.numel())};
                   }});
  kinds.push_back({"merge_heads", [](Draw& d) {
                     const Shape shape = d.shape(3, 3, true);
                     const auto from = [=](const Shape& at) {
                       return Shape{at[1] / shape[2], at[0], at[1] % shape[2]};
                     };
                     const auto run = [](const Tensors& x) { return merge_heads(x[0]); };
                     return Case{move("merge_heads", run, {shape[1], shape[0] * shape[2]}, from), {d.values(shape)}};
                   }});
  kinds.push_back({"flip", [](Draw& d) {
                     const Shape shape = d.shape(1, 4, true);
                     const std::vector<int> axes = d.axes(shape.rank());
                     const auto from = [=](Shape at) {
                       for (int axis : axes) {
                         const int i = positive(axis, shape.rank());
                         at[i] = shape[i] - 1 - at[i];
                       }
                       return at;
                     };
                     return Case{move(
                                     "flip", [=](const Tensors& x) { return flip(x[0], axes); }, shape, from),
                                 {d.values(shape)}};
                   }});
  for (const bool lower : {true, false})
    kinds.push_back({lower ? "tril" : "triu", [=](Draw& d) {
                       const Shape shape = d.shape(2, 4, true);
                       const int64_t diagonal = d.between(-3, 3);
                       const Op op{"triangle", [=](const Tensors& x) { return (lower ? tril : triu)(x[0], diagonal); },
                                   [=](const Arrays& x) {
                                     return fill(shape, [&](const Shape& at) {
                                       const int64_t above = at[shape.rank() - 1] - at[shape.rank() - 2];
                                       const bool stays = lower ? above <= diagonal : above >= diagonal;
                                       return stays ? x[0].v[offset(shape, at)] : 0;
                                     });
                                   }};
                       return Case{op, {d.values(shape)}};
                     }});
  kinds.push_back({"pad", [](Draw& d) {
                     const Shape shape = d.shape(1, 4, true);
                     std::vector<int64_t> widths;
                     for (int64_t n = d.between(0, shape.rank()); n > 0; --n)
                       widths.insert(widths.end(), {d.below(3), d.below(3)});
                     Shape padded = shape;
                     std::vector<int64_t> before(shape.rank(), 0);
                     for (size_t i = 0; i < widths.size(); i += 2) {
                       const int axis = shape.rank() - 1 - static_cast<int>(i / 2);
                       padded[axis] += widths[i] + widths[i + 1];
                       before[axis] = widths[i];
                     }
                     const Op op{"pad", [=](const Tensors& x) { return pad(x[0], widths, 3); },
                                 [=](const Arrays& x) {
                                   return fill(padded, [&](Shape at) {
                                     bool inside = true;
                                     for (int i = 0; i < at.rank(); ++i) {
                                       at[i] -= before[i];
                                       inside = inside && at[i] >= 0 && at[i] < shape[i];
                                     }
                                     return inside ? x[0].v[offset(shape, at)] : 3;
                                   });
                                 }};
                     return Case{op, {d.values(shape)}};
                   }});
  kinds.push_back({"index_select", [](Draw& d) {
                     const Shape shape = d.shape(1, 4);
                     const int axis = an_axis(d, shape.rank()), along = positive(axis, shape.rank());
                     const std::vector<int32_t> index = d.ids(d.below(6), shape[along]);
                     const auto run = [=](const Tensors& x) { return index_select(x[0], axis, index); };
                     const auto from = [=](Shape at) { return at[along] = index[at[along]], at; };
                     const Shape sizes = with(shape, along, static_cast<int64_t>(index.size()));
                     return Case{move("index_select", run, sizes, from), {d.values(shape)}};
                   }});
  kinds.push_back({"gather", [](Draw& d) {
                     const Shape shape = d.shape(1, 4);
                     const int axis = an_axis(d, shape.rank()), along = positive(axis, shape.rank());
                     const Index index = random_index(d, shape, along);
                     const auto run = [=](const Tensors& x) { return gather(x[0], axis, index); };
                     const auto from = [=](Shape at) { return at[along] = index.values[offset(index.shape, at)], at; };
                     return Case{move("gather", run, index.shape, from), {d.values(shape)}};
                   }});
  kinds.push_back({"scatter_add", [](Draw& d) {
                     const Shape shape = d.shape(1, 4);
                     const int axis = an_axis(d, shape.rank()), along = positive(axis, shape.rank());
                     const Index index = random_index(d, shape, along);
                     const auto scattered = [=](const Array& x, const Array& source) {
                       Array y = x;
                       each(index.shape, [&](Shape at, int64_t i) {
                         at[along] = index.values[i];
                         y.v[offset(shape, at)] += source.v[i];
                       });
                       return y;
                     };
                     const auto of = [=](const Arrays& x) { return scattered(absolute(x[0]), absolute(x[1])); };
                     const Op op{"scatter_add", [=](const Tensors& x) { return scatter_add(x[0], axis, index, x[1]); },
                                 [=](const Arrays& x) { return scattered(x[0], x[1]); }};
                     return Case{op, {d.values(shape), d.values(index.shape)}, 3, of};
                   }});
  kinds.push_back({"one_hot", [](Draw& d) {
                     const Shape shape = d.shape(0, 3, true);
                     const Index index(d.ids(shape.numel(), 7), shape);
                     Shape out = shape;
                     out.push_back(7);
                     const Op op{"one_hot", [=](const Tensors&) { return one_hot(index, 7); },
                                 [=](const Arrays&) {
                                   Array y(out);
                                   for (size_t i = 0; i < index.values.size(); ++i) y.v[i * 7 + index.values[i]] = 1;
                                   return y;
                                 }};
                     return Case{op, {}};
                   }});
}

void convolution_kinds(std::vector<Kind>& kinds) {
  // A convolution of 1d is that of 2d with images one row high; a pooling, one window's reduction.
  for (const bool flat : {false, true}) {
    kinds.push_back(
        {flat ? "conv1d" : "conv2d", [=](Draw& d) {
           ConvOptions o{d.between(1, 2), flat ? 0 : d.between(0, 2), d.between(1, 2), d.between(1, 2)};
           const Shape kernel{o.groups * d.between(1, 2), d.between(1, 2), flat ? 1 : d.between(1, 2), d.between(1, 3)};
           const Shape image{d.between(1, 2), o.groups * kernel[1], flat ? 1 : d.between(3, 5), d.between(5, 7)};
           const auto run = [=](const Tensors& x) {
             const Tensor bias = x.size() > 2 ? x[2] : Tensor();
             return flat ? unsqueeze(conv1d(squeeze(x[0], 2), squeeze(x[1], 2), bias, o), 2)
                         : conv2d(x[0], x[1], bias, o);
           };
           Arrays in = {d.values(image), d.values(kernel)};
           if (d.flip()) in.push_back(d.values({kernel[0]}));
           const auto of = [=](Arrays x) {
             for (Array& part : x) part = absolute(part);
             return convolved(x, o);
           };
           return Case{{"convolution", run, [=](const Arrays& x) { return convolved(x, o); }}, in, 14, of, 50};
         }});
    for (const bool largest : {true, false})
      kinds.push_back(
          {std::string(largest ? "max_pool" : "avg_pool") + (flat ? "1d" : "2d"), [=](Draw& d) {
             const int64_t size = d.between(1, 3), stride = d.between(0, 3), step = stride ? stride : size;
             const Shape image{d.between(1, 2), d.between(1, 2), flat ? 1 : d.between(3, 6), d.between(3, 6)};
             const auto run = [=](const Tensors& x) {
               if (flat) return unsqueeze((largest ? max_pool1d : avg_pool1d)(squeeze(x[0], 2), size, stride), 2);
               return (largest ? max_pool2d : avg_pool2d)(x[0], size, stride);
             };
             const auto pooled = [=](const Arrays& x) {
               const int64_t height = flat ? 1 : size;
               const Shape out{image[0], image[1], flat ? 1 : (image[2] - size) / step + 1,
                               (image[3] - size) / step + 1};
               return fill(out, [&](const Shape& at) {
                 double most = -INFINITY, sum = 0;
                 for (int64_t i = 0; i < height; ++i)
                   for (int64_t j = 0; j < size; ++j) {
                     const double v =
                         x[0].v[offset(image, {at[0], at[1], (flat ? 0 : at[2] * step) + i, at[3] * step + j})];
                     most = std::max(most, v), sum += v;
                   }
                 return largest ? most : sum / static_cast<double>(height * size);
               });
             };
             const auto of = [=](const Arrays& x) { return pooled({absolute(x[0])}); };
             return Case{{"pool", run, pooled}, {d.values(image, Values::distinct)}, largest ? 0.0 : 1.0, of, 50};
           }});
  }
  kinds.push_back(
      {"unfold", [](Draw& d) {
         const HeightWidth size{d.between(1, 2), d.between(1, 3)}, stride{d.between(1, 2), d.between(1, 3)};
         const HeightWidth dilation{d.between(1, 2), d.between(1, 2)};
         const Shape image{d.between(1, 2), d.between(1, 3), d.between(3, 5), d.between(5, 7)};
         const auto count = [&](int i) { return (image[2 + i] - dilation[i] * (size[i] - 1) - 1) / stride[i] + 1; };
         const int64_t across = count(1);
         const Shape columns{image[0], image[1] * size[0] * size[1], count(0) * across};
         const auto from = [=](const Shape& at) {
           const int64_t inside = at[1] % (size[0] * size[1]);
           return Shape{at[0], at[1] / (size[0] * size[1]), at[2] / across * stride[0] + inside / size[1] * dilation[0],
                        at[2] % across * stride[1] + inside % size[1] * dilation[1]};
         };
         const auto run = [=](const Tensors& x) { return unfold(x[0], size, stride, dilation); };
         return Case{move("unfold", run, columns, from), {d.values(image)}};
       }});
}

}  // namespace property
