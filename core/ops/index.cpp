// Ops that find elements by their places, and the places of elements.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/ops.h"
#include "core/ops/axes.h"

namespace difftensor::inline DT_PRECISION {
namespace {
// Of two places in a line x: does the first come earlier, when the largest comes first? NaN counts as the largest, and
// of equals the first is first.
auto larger_in(const Scalar* x, int64_t step) {
  return [=](int32_t a, int32_t b) {
    const Scalar p = x[a * step], q = x[b * step];
    return p > q || (std::isnan(p) && !std::isnan(q)) || (!(q > p) && std::isnan(p) == std::isnan(q) && a < b);
  };
}

// Throws unless `index` fits x everywhere but along the axis, and is in its range there.
void check_index(const char* op, const Shape& shape, int axis, const Index& index) {
  Shape like = index.shape;
  if (like.rank() == shape.rank()) like[axis] = shape[axis];
  require(like == shape, op, "index ", index.shape, " and ", shape, " differ outside axis ", axis);
  for (size_t i = 0; i < index.values.size(); ++i)
    require(index.values[i] >= 0 && index.values[i] < shape[axis], op, "place ", index.values[i], " (number ", i,
            ") along axis ", axis, " of shape ", shape);
}

// f(an element of the index, the element of x that it names) for all, line by line.
template <class F>
void each_named(const Shape& shape, int axis, const Index& index, F f) {
  const AxisLoop from("index", index.shape, axis);
  from.each([&](int64_t first) {
    const int64_t line = from.same_line(first, shape[axis]);
    for (int64_t i = 0; i < from.length; ++i) {
      const int64_t at = first + i * from.inner;
      f(at, line + index.values[at] * from.inner);
    }
  });
}

// y at the place += s, for each time that the index names it. A line is one thread's, and summed in order: in runs,
// whose sums are then added, so that of millions that meet at one place none is too small for what the others sum to.
void add_at_places(const Shape& shape, int axis, const Index& index, const Scalar* s, Scalar* y) {
  const AxisLoop from("index", index.shape, axis);
  const int64_t run = std::max<int64_t>(65536, shape[axis]);
  from.each([&](int64_t first) {
    const auto add = [&](int64_t begin, Scalar* line, int64_t step) {
      for (int64_t i = begin; i < std::min(begin + run, from.length); ++i) {
        const int64_t at = first + i * from.inner;
        line[index.values[at] * step] += s[at];
      }
    };
    Scalar* line = y + from.same_line(first, shape[axis]);
    add(0, line, from.inner);
    for (int64_t begin = run; begin < from.length; begin += run) {
      std::vector<Scalar> sums(shape[axis]);
      add(begin, sums.data(), 1);
      for (int64_t place = 0; place < shape[axis]; ++place) line[place * from.inner] += sums[place];
    }
  });
}
}  // namespace

Index::Index(std::vector<int32_t> places, const Shape& sizes) : values(std::move(places)), shape(sizes) {
  require(static_cast<int64_t>(values.size()) == shape.numel(), "Index", values.size(), " places for shape ", shape);
}

Index argmax(const Tensor& x, int axis, bool keepdim) {
  const AxisLoop loop("argmax", x.shape(), axis);
  require(loop.length > 0, "argmax", "axis ", axis, " of shape ", x.shape(), " is empty");
  Shape shape;
  for (int i = 0; i < x.rank(); ++i)
    if (i != loop.axis || keepdim) shape.push_back(i == loop.axis ? 1 : x.shape()[i]);
  std::vector<int32_t> places(loop.outer * loop.inner);
  loop.each([&, x = x.data()](int64_t first) {
    const auto larger = larger_in(x + first, loop.inner);
    int32_t best = 0;
    for (int32_t i = 1; i < loop.length; ++i)
      if (larger(i, best)) best = i;
    places[loop.same_line(first, 1)] = best;
  });
  return {std::move(places), shape};
}

Sorted topk(const Tensor& x, int64_t k, int axis) {
  const AxisLoop loop("topk", x.shape(), axis);
  require(0 <= k && k <= loop.length, "topk", k, " of axis ", axis, " of shape ", x.shape());
  Shape shape = x.shape();
  shape[loop.axis] = k;
  Index places(std::vector<int32_t>(shape.numel()), shape);
  loop.each([&, x = x.data()](int64_t first) {
    std::vector<int32_t> order(loop.length);
    std::iota(order.begin(), order.end(), 0);
    std::partial_sort(order.begin(), order.begin() + k, order.end(), larger_in(x + first, loop.inner));
    const int64_t to = loop.same_line(first, k);
    for (int64_t i = 0; i < k; ++i) places.values[to + i * loop.inner] = order[i];
  });
  return {gather(x, axis, places), places};
}

Sorted sort(const Tensor& x, int axis, bool descending) {
  if (descending) return topk(x, x.dim(axis), axis);
  // Ascending is not the reverse of descending: of equals, the first comes first here too.
  const AxisLoop loop("sort", x.shape(), axis);
  Index places(std::vector<int32_t>(x.numel()), x.shape());
  loop.each([&, x = x.data()](int64_t first) {
    std::vector<int32_t> order(loop.length);
    std::iota(order.begin(), order.end(), 0);
    const Scalar* line = x + first;
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
      const Scalar p = line[a * loop.inner], q = line[b * loop.inner];
      return p < q || (std::isnan(q) && !std::isnan(p));
    });
    for (int64_t i = 0; i < loop.length; ++i) places.values[first + i * loop.inner] = order[i];
  });
  return {gather(x, axis, places), places};
}

Tensor gather(const Tensor& x, int axis, const Index& index) {
  axis = checked_axis("gather", axis, x.rank(), x.shape());
  check_index("gather", x.shape(), axis, index);
  Tensor out(index.shape);
  each_named(x.shape(), axis, index, [x = x.data(), y = out.data()](int64_t i, int64_t at) { y[i] = x[at]; });
  // dx at the place += dy, for each time that it was named
  return record(
      "gather", out, {x},
      [shape = x.shape(), axis, index](const Gradients& g) { add_at_places(shape, axis, index, g.out, g.buffer(0)); },
      {});
}

Tensor scatter_add(const Tensor& x, int axis, const Index& index, const Tensor& source) {
  axis = checked_axis("scatter_add", axis, x.rank(), x.shape());
  check_index("scatter_add", x.shape(), axis, index);
  require(source.shape() == index.shape, "scatter_add", "index ", index.shape, " for a source of ", source.shape());
  Tensor out = x.detach().clone();
  add_at_places(x.shape(), axis, index, source.data(), out.data());
  // dx += dy,  dsource += dy at the place
  return record("scatter_add", out, {x, source},
                [shape = x.shape(), axis, index](const Gradients& g) {
                  g.add_output_gradient(0);
                  if (g.wants(1))
                    each_named(shape, axis, index,
                               [ds = g.buffer(1), dy = g.out](int64_t i, int64_t at) { ds[i] += dy[at]; });
                },
                {});
}

Tensor index_select(const Tensor& x, int axis, const std::vector<int32_t>& index) {
  return transpose(gather_rows(transpose(x, 0, axis), index), 0, axis);
}

Tensor one_hot(const Index& index, int64_t classes) {
  Shape shape = index.shape;
  shape.push_back(classes);
  Tensor out = zeros(shape);
  for (size_t i = 0; i < index.values.size(); ++i) {
    require(index.values[i] >= 0 && index.values[i] < classes, "one_hot", "class ", index.values[i], " (number ", i,
            ") is outside the ", classes, " classes");
    out.data()[static_cast<int64_t>(i) * classes + index.values[i]] = 1;
  }
  return out;
}

Tensor gather_rows(const Tensor& x, const std::vector<int32_t>& index) {
  require(x.rank() >= 1, "gather_rows", "a scalar has no rows");
  const int64_t rows = x.shape()[0], width = Shape(x.shape().begin() + 1, x.shape().end()).numel();
  Shape shape = x.shape();
  shape[0] = static_cast<int64_t>(index.size());
  Tensor out(shape);
  for (size_t i = 0; i < index.size(); ++i)
    require(index[i] >= 0 && index[i] < rows, "gather_rows", "row ", index[i], " (number ", i, ") of shape ",
            x.shape());
  parallel_for(shape[0], 64, [&, y = out.data()](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) std::copy_n(x.data() + index[i] * width, width, y + i * width);
  });
  // dx[index[i]] += dy[i]. Rows may repeat, so threads share out the columns: each element is summed in the order of i.
  return record("gather_rows", out, {x},
                [index, width](const Gradients& g) {
                  Scalar* dx = g.buffer(0);
                  parallel_for(width, 64, [&](int64_t begin, int64_t end) {
                    for (size_t i = 0; i < index.size(); ++i) {
                      Scalar* to = dx + index[i] * width;
                      const Scalar* from = g.out + i * width;
#pragma omp simd
                      for (int64_t j = begin; j < end; ++j) to[j] += from[j];
                    }
                  });
                },
                {});
}

Tensor embedding(const Tensor& weight, const std::vector<int32_t>& ids) {
  require(weight.rank() == 2, "embedding", "the weight must be (vocabulary, width), not ", weight.shape());
  for (size_t i = 0; i < ids.size(); ++i)
    require(ids[i] >= 0 && ids[i] < weight.shape()[0], "embedding", "id ", ids[i], " of token ", i,
            " is outside the vocabulary of ", weight.shape()[0]);
  return gather_rows(weight, ids);
}

Index randint(int32_t low, int32_t high, const Shape& shape, Random& random) {
  require(low < high, "randint", "no whole number from ", low, " to below ", high);
  const auto count = static_cast<uint64_t>(int64_t{high} - low);
  std::vector<int32_t> numbers(shape.numel());
  for (int32_t& n : numbers) n = static_cast<int32_t>(low + static_cast<int64_t>(random.below(count)));
  return {std::move(numbers), shape};
}

std::vector<int32_t> randperm(int32_t n, Random& random) {
  require(n >= 0, "randperm", "of ", n, " numbers");
  std::vector<int32_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  shuffle(order, random);
  return order;
}

Index multinomial(const Tensor& p, int64_t count, Random& random, bool replacement) {
  require(p.rank() >= 1 && count >= 0, "multinomial", count, " draws from ", p.shape());
  const int64_t classes = p.shape().back(), rows = classes ? p.numel() / classes : 0;
  Shape shape = p.shape();
  shape[shape.rank() - 1] = count;
  std::vector<int32_t> drawn;
  for (int64_t row = 0; row < rows; ++row) {
    std::vector<double> weights(p.data() + row * classes, p.data() + (row + 1) * classes);
    for (double w : weights)
      require(w >= 0 && std::isfinite(w), "multinomial", "row ", row, " has a probability of ", w);
    for (int64_t n = 0; n < count; ++n) {
      const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
      require(total > 0, "multinomial", "row ", row, " has no probability left for draw ", n);
      // The class at which the running sum passes u; the last possible one if the sum rounds to less than that.
      double u = random.uniform_double() * total;
      int32_t chosen = 0;
      for (int32_t i = 0; i < classes; ++i) {
        if (weights[i] == 0) continue;
        chosen = i;
        if (u < weights[i]) break;
        u -= weights[i];
      }
      drawn.push_back(chosen);
      if (!replacement) weights[chosen] = 0;
    }
  }
  return {std::move(drawn), shape};
}

}  // namespace difftensor::inline DT_PRECISION
