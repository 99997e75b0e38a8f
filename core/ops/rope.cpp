// Where a token stands in its sentence: rotations of queries and keys, or sinusoids added to the embedding.
#include <cmath>

#include "core/ops.h"

namespace difftensor::inline DT_PRECISION {
namespace {
// cos and sin of p base^(-2i / d) for every position p that occurs and i < d / 2: row p has d / 2 cosines, then d / 2
// sines. Every layer of every batch asks for the same, so each thread keeps the last.
Storage rotation_table(const char* op, const std::vector<int32_t>& positions, int64_t d, double base) {
  for (int32_t p : positions) require(p >= 0, op, "negative position ", p);
  struct Kept {
    int64_t d = 0;
    double base = 0;
    Storage table;
  };
  thread_local Kept kept;
  // In steps of 64 positions, so that decoding word by word does not ask for a longer one each time.
  const int64_t last = positions.empty() ? 0 : *std::max_element(positions.begin(), positions.end());
  const int64_t rows = (last / 64 + 1) * 64;
  if (kept.d == d && kept.base == base && kept.table.size() >= rows * d) return kept.table;
  kept = {d, base, Storage(rows * d)};
  for (int64_t i = 0; i < d / 2; ++i) {
    const double frequency = std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(d));
    for (int64_t p = 0; p < rows; ++p) {
      kept.table.data()[p * d + i] = static_cast<Scalar>(std::cos(static_cast<double>(p) * frequency));
      kept.table.data()[p * d + d / 2 + i] = static_cast<Scalar>(std::sin(static_cast<double>(p) * frequency));
    }
  }
  return kept.table;
}
}  // namespace

Tensor rope(const Tensor& x, int heads, const std::vector<int32_t>& positions, double base) {
  require(x.rank() == 2 && x.shape()[0] == static_cast<int64_t>(positions.size()), "rope", "x ", x.shape(), " with ",
          positions.size(), " positions");
  const int64_t rows = x.shape()[0], D = x.shape()[1], d = heads > 0 ? D / heads : 0;
  require(d > 0 && d % 2 == 0 && d * heads == D, "rope", heads, " heads of an even width do not make up ", x.shape());
  require(base > 0 && std::isfinite(base), "rope", "base ", base, " is not positive and finite");
  const Storage table = rotation_table("rope", positions, d, base);

  // (y_2i, y_2i+1) = R(angle) (x_2i, x_2i+1). A rotation's transpose is the rotation back: dx += R(-angle) dy.
  auto rotate = [table, positions, rows, D, d](const Scalar* from, Scalar* to, Scalar sign, bool add) {
    parallel_for(rows, 64, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        const Scalar *cos = table.data() + positions[n] * d, *sin = cos + d / 2;
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
  const Storage table = rotation_table("sinusoids", positions, width, 10000);
  Tensor out({static_cast<int64_t>(positions.size()), width});
  for (size_t n = 0; n < positions.size(); ++n)
    for (int64_t i = 0; i < width / 2; ++i) {
      const Scalar* row = table.data() + positions[n] * width;
      out.data()[n * width + 2 * i] = row[width / 2 + i];
      out.data()[n * width + 2 * i + 1] = row[i];
    }
  return out;
}

}  // namespace difftensor::inline DT_PRECISION
