// Where a token stands in its sentence: rotations of queries and keys, or sinusoids added to the embedding.
#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <utility>

#include "core/ops.h"

namespace difftensor::inline DT_PRECISION {
namespace {
// Rows of cos and sin of p base^(-2i / d), i < d / 2: d / 2 cosines, then d / 2 sines. rows[n] is that of token n.
struct Rotations {
  Storage table;
  std::vector<int32_t> rows;
};

// A row for each p in `positions`.
Storage rotation_rows(const std::vector<int32_t>& positions, int64_t d, double base) {
  const auto rows = static_cast<int64_t>(positions.size());
  Storage table(rows * d);
  Scalar* const to = table.data();
  for (int64_t i = 0; i < d / 2; ++i) {
    const double frequency = std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(d));
    for (int64_t n = 0; n < rows; ++n) {
      to[n * d + i] = static_cast<Scalar>(std::cos(positions[n] * frequency));
      to[n * d + d / 2 + i] = static_cast<Scalar>(std::sin(positions[n] * frequency));
    }
  }
  return table;
}

// Every layer of every batch asks for the same, so each thread keeps a table for each width of a head, of all positions
// up to the largest. But if that is far, it would take too much memory: then there is a table for this call, of these
// alone.
Rotations rotations(const char* op, const std::vector<int32_t>& positions, int64_t d, double base) {
  for (int32_t p : positions) require(p >= 0, op, "negative position ", p);
  const int64_t last = positions.empty() ? 0 : *std::max_element(positions.begin(), positions.end());
  constexpr int64_t far = 1 << 20;
  if (last >= far) {
    std::vector<int32_t> rows(positions.size());
    std::iota(rows.begin(), rows.end(), 0);
    return {rotation_rows(positions, d, base), std::move(rows)};
  }
  thread_local std::map<std::pair<int64_t, double>, Storage> tables;
  if (tables.size() > 16) tables.clear();  // of somebody who tries many bases
  Storage& table = tables[{d, base}];
  if (const int64_t rows = table.size() / d; rows <= last) {
    // Twice as long as before, so that decoding word by word does not ask for a longer one each time.
    std::vector<int32_t> all(std::max((last / 64 + 1) * 64, 2 * rows));
    std::iota(all.begin(), all.end(), 0);
    table = rotation_rows(all, d, base);
  }
  return {table, positions};
}
}  // namespace

Tensor rope(const Tensor& x, int heads, const std::vector<int32_t>& positions, double base) {
  require(x.rank() == 2 && x.shape()[0] == static_cast<int64_t>(positions.size()), "rope", "x ", x.shape(), " with ",
          positions.size(), " positions");
  const int64_t rows = x.shape()[0], D = x.shape()[1], d = heads > 0 ? D / heads : 0;
  require(d > 0 && d % 2 == 0 && d * heads == D, "rope", heads, " heads of an even width do not make up ", x.shape());
  require(base > 0 && std::isfinite(base), "rope", "base ", base, " is not positive and finite");
  Rotations all = rotations("rope", positions, d, base);

  // (y_2i, y_2i+1) = R(angle) (x_2i, x_2i+1). A rotation's transpose is the rotation back: dx += R(-angle) dy.
  auto rotate = [table = std::move(all.table), places = std::move(all.rows), rows, D, d](const Scalar* from, Scalar* to,
                                                                                         Scalar sign, bool add) {
    parallel_for(rows, 64, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        const Scalar *cos = table.data() + places[n] * d, *sin = cos + d / 2;
        for (int64_t at = n * D; at < (n + 1) * D; at += d)
#pragma omp simd
          for (int64_t i = 0; i < d / 2; ++i) {
            const Scalar a = from[at + 2 * i], b = from[at + 2 * i + 1], s = sign * sin[i];
            const Scalar keep_a = add ? to[at + 2 * i] : 0, keep_b = add ? to[at + 2 * i + 1] : 0;
            to[at + 2 * i] = keep_a + a * cos[i] - b * s;
            to[at + 2 * i + 1] = keep_b + a * s + b * cos[i];
          }
      }
    });
  };
  Tensor out(x.shape());
  rotate(x.data(), out.data(), 1, false);
  return record("rope", out, {x},
                [rotate](const Gradients& g) {
                  const GradientBuffer dx = g.raw_buffer(0);
                  rotate(g.out, dx.data, -1, !dx.is_new);
                },
                {});
}

Tensor sinusoids(const std::vector<int32_t>& positions, int64_t width) {
  require(width > 0 && width % 2 == 0, "sinusoids", "width ", width, " is not even");
  const Rotations all = rotations("sinusoids", positions, width, 10000);
  Tensor out({static_cast<int64_t>(positions.size()), width});
  for (size_t n = 0; n < positions.size(); ++n)
    for (int64_t i = 0; i < width / 2; ++i) {
      const Scalar* row = all.table.data() + all.rows[n] * width;
      out.data()[n * width + 2 * i] = row[width / 2 + i];
      out.data()[n * width + 2 * i + 1] = row[i];
    }
  return out;
}

}  // namespace difftensor::inline DT_PRECISION
