// Bits depend on a row's own values: not on the number of threads, on the other rows of the batch, or on the address.
// `make bits` runs this in builds for other CPUs, where compilers choose other instructions.
#include <omp.h>

#include <cstring>

#include "core/kernels/gemm.h"
#include "core/kernels/packed_weights.h"
#include "core/kernels/softmax.h"
#include "core/parallel_backward.h"
#include "models/transformer.h"
#include "optim/clip.h"
#include "optim/optimizer.h"
#include "tests/testing.h"

using namespace difftensor;

namespace {

bool same_bits(const Scalar* a, const Scalar* b, int64_t n) { return std::memcmp(a, b, n * sizeof(Scalar)) == 0; }
bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && same_bits(a.data(), b.data(), a.numel());
}

// f()'s results at some numbers of threads: have they the same bits?
template <class F>
bool same_at_any_thread_count(F f) {
  bool same = true;
  std::vector<Tensor> first;
  for (int threads : {1, 2, 3, 5, 16}) {
    const Threads some(threads);
    const std::vector<Tensor> results = f();
    if (first.empty()) first = results;
    for (size_t i = 0; i < results.size(); ++i) same = same && same_bits(first[i], results[i]);
  }
  return same;
}

struct Product {
  bool transpose_a, transpose_b, add;
  int64_t M, N, K;
};
std::ostream& operator<<(std::ostream& to, const Product& p) {
  return to << "C (" << p.M << ", " << p.N << ")" << (p.add ? " += " : " = ") << (p.transpose_a ? "A^T" : "A")
            << (p.transpose_b ? " B^T" : " B") << ", K = " << p.K;
}

// One product, by each road that leads to it.
struct Roads {
  explicit Roads(const Product& p, Random& random)
      : p(p), A(rand({p.M * p.K}, random, -1)), B(rand({p.K * p.N}, random, -1)), C(rand({p.M, p.N}, random, -1)) {}
  Tensor cut() const {
    Tensor result = C.clone();
    kernels::parallel_gemm(p.transpose_a, p.transpose_b, p.M, p.N, p.K, A.data(), B.data(), p.add, result.data());
    return result;
  }
  Tensor packed() const {
    Tensor result = C.clone();
    kernels::PackedMatrix matrix;
    matrix.pack(p.transpose_b, p.K, p.N, B.data(), p.transpose_b ? p.K : p.N);
    matrix.multiply(p.M, p.K, p.N, A.data(), p.K, p.add, result.data(), p.N);
    return result;
  }
  // Rows [begin, end) only.
  Tensor rows(int64_t begin, int64_t end) const {
    Tensor result = slice(C, 0, begin, end).clone();
    kernels::parallel_gemm(false, p.transpose_b, end - begin, p.N, p.K, A.data() + begin * p.K, B.data(), p.add,
                           result.data());
    return result;
  }
  Product p;
  Tensor A, B, C;
};

}  // namespace

TEST_CASE("bits: thousands of products are the same at any thread count, packed or not, in a batch or alone") {
  Random random(12);
  const uint64_t products = from_environment("DT_PRODUCTS", 3000);
  int64_t differ = 0;
  for (uint64_t i = 0; i < products; ++i) {
    const auto size = [&](int64_t most) { return 1 + static_cast<int64_t>(random.below(most)); };
    const int64_t M = i % 3 ? size(300) : 6 * size(50) + 1;  // one row is left over by tiles of 6
    const int64_t N = i % 5 ? size(300) : i % 10 ? 40 : 513 + size(200);
    const Roads roads({random.below(2) == 0, random.below(2) == 0, random.below(2) == 0, M, N, size(270)}, random);
    CAPTURE(i);
    CAPTURE(roads.p);
    bool same = same_at_any_thread_count([&] { return std::vector{roads.cut()}; });
    if (!roads.p.transpose_a && N <= 512) {
      const Tensor all = roads.cut();
      const int64_t begin = random.below(M), end = begin + 1 + random.below(M - begin);
      same = same && same_bits(all, roads.packed()) && same_bits(slice(all, 0, begin, end), roads.rows(begin, end));
    }
    differ += !same;
    if (differ < 5) CHECK(same);
  }
  CHECK(differ == 0);
}

TEST_CASE("bits: a row of a layer's product is the same among any number of rows") {
  Random random(13);
  for (const int64_t N : {1, 7, 8, 15, 16, 17, 31, 33, 40, 97, 9700})
    for (const int64_t K : {1, 31, 32, 128, 256}) {
      const Roads roads({false, true, false, 60, N, K}, random);
      CAPTURE(roads.p);
      const Tensor all = roads.cut();
      bool same = same_bits(all, roads.packed()) && same_at_any_thread_count([&] { return std::vector{roads.cut()}; });
      for (int64_t rows = 1; rows <= (N > 100 ? 13 : 60); ++rows)
        same = same && same_bits(slice(all, 0, 0, rows), roads.rows(0, rows)) &&
               same_bits(slice(all, 0, 60 - rows, 60), roads.rows(60 - rows, 60));
      CHECK(same);
    }
}

TEST_CASE("bits: so it is in a layer too wide for panels, and in its gradient") {
  Random random(15);
  const int64_t in = 600, out = 700, rows = 40;
  const Tensor x = randn({rows, in}, random), weight = randn({out, in}, random), dy = randn({rows, out}, random);
  const auto layer = [&](int64_t begin, int64_t end) {
    Tensor part = slice(x, 0, begin, end).clone().requires_grad();
    const Tensor y = linear(part, weight);
    sum(y * slice(dy, 0, begin, end)).backward();
    return std::pair{y, part.grad()};
  };
  const auto [y, dx] = layer(0, rows);
  for (const auto& rows_of_part : {std::pair<int64_t, int64_t>{0, 1}, {0, 7}, {3, 4}, {5, 22}, {39, 40}}) {
    const int64_t begin = rows_of_part.first, end = rows_of_part.second;  // CAPTURE takes no structured bindings in C++20
    CAPTURE(begin);
    const auto [some, gradient] = layer(begin, end);
    CHECK(same_bits(slice(y, 0, begin, end), some));
    CHECK(same_bits(slice(dx, 0, begin, end), gradient));
  }
}

TEST_CASE("bits: what is computed of a row does not depend on its address") {
  Random random(14);
  bool same = true;
  for (int64_t n = 1; n <= 200; ++n) {
    const Tensor values = randn({n}, random, 3), gain = randn({n}, random);
    std::vector<Tensor> first;
    for (int64_t offset = 0; offset < 16; ++offset) {
      // The row lies `offset` numbers behind a whole register, and is written to as far from the next one.
      Tensor x({offset + n}), y({offset + n});
      std::copy_n(values.data(), n, x.data() + offset);
      const Scalar* row = x.data() + offset;
      const kernels::ExpRow e = kernels::exp_row(row, y.data() + offset, n, Scalar(0.3));
      Tensor exps({n}), probabilities({n});
      std::copy_n(y.data() + offset, n, exps.data());
      kernels::softmax_row(row, y.data() + offset, n);
      std::copy_n(y.data() + offset, n, probabilities.data());
      const auto sum = static_cast<Scalar>(kernels::sum_of(n, [row](int64_t i) { return row[i]; }));
      const std::vector<Tensor> results{exps, probabilities, tensor({e.max, e.sum, sum}, {3})};
      if (first.empty()) first = results;
      for (size_t i = 0; i < results.size(); ++i) same = same && same_bits(first[i], results[i]);
    }
    CAPTURE(n);
    CHECK(same);
  }
}

TEST_CASE("bits: ops on rows give a row the same bits wherever it lies, forward and backward") {
  Random random(15);
  for (const int64_t D : {1, 2, 6, 16, 31, 32, 40, 66, 97, 130}) {
    CAPTURE(D);
    const Tensor x = randn({37, D}, random, 2), up = randn({37, D}, random), seed = randn({37, D}, random);
    const Tensor gain = randn({D}, random), bias = randn({D}, random);
    // Every row is computed in the batch, and by itself.
    const auto run = [&](int64_t begin, int64_t end) {
      std::vector<Tensor> results;
      const auto add = [&](auto f) {
        Tensor a = slice(x, 0, begin, end).clone().requires_grad(), b = slice(up, 0, begin, end).clone().requires_grad();
        Tensor out = f(a, b);
        out.backward(slice(seed, 0, begin, end).clone());
        results.insert(results.end(), {out.detach(), a.grad()});
      };
      add([&](auto& a, auto&) { return layer_norm(a, gain, bias); });
      add([&](auto& a, auto&) { return rms_norm(a, gain); });
      add([&](auto& a, auto& b) { return swiglu(a, b); });
      add([&](auto& a, auto&) { return softmax(a); });
      add([&](auto& a, auto&) { return log_softmax(a); });
      add([&](auto& a, auto&) { return sigmoid(a); });
      return results;
    };
    const std::vector<Tensor> all = run(0, 37);
    bool same = true;
    for (int64_t r = 0; r < 37; ++r) {
      const std::vector<Tensor> alone = run(r, r + 1);
      for (size_t i = 0; i < all.size(); ++i) {
        const bool equal = same_bits(slice(all[i], 0, r, r + 1), alone[i]);
        if (!equal && same) MESSAGE("result ", i, " of row ", r);
        same = same && equal;
      }
    }
    CHECK(same);
  }
}

namespace {
// Sentences of a made-up language of 40 words.
struct Batch {
  std::vector<int32_t> source, target, next;
  std::vector<int64_t> source_lengths, target_lengths;
};
void append(Batch& batch, uint64_t sentence) {
  Random random(sentence + 100);
  const int64_t length = 1 + static_cast<int64_t>(random.below(19));
  batch.source_lengths.push_back(length);
  batch.target_lengths.push_back(length + 1);
  batch.target.push_back(1);
  for (int64_t i = 0; i < length; ++i) {
    const auto word = static_cast<int32_t>(3 + random.below(37));
    for (auto* side : {&batch.source, &batch.target, &batch.next}) side->push_back(word);
  }
  batch.next.push_back(2);
}
Batch sentences(uint64_t begin, uint64_t end) {
  Batch batch;
  for (uint64_t i = begin; i < end; ++i) append(batch, i);
  return batch;
}
constexpr models::AttentionKind kinds[] = {models::AttentionKind::softmax, models::AttentionKind::diff,
                                           models::AttentionKind::diff_v2};
models::TransformerConfig small_config(models::AttentionKind kind) {
  models::TransformerConfig c;
  c.d_model = 32, c.heads = 2, c.ff = 48, c.attention = kind;
  c.vocab = 40, c.encoder_layers = 2, c.decoder_layers = 2;
  return c;
}
}  // namespace

TEST_CASE("bits: a sentence has the same logits alone and in any batch, at any thread count") {
  for (const models::AttentionKind kind : kinds)
    for (const models::Style style : {models::Style::llama, models::Style::vaswani}) {
      CAPTURE(to_string(kind));
      Random random(16);
      models::TransformerConfig config = small_config(kind);
      config.style = style;
      const models::Transformer model(config, random);
      const NoGrad no_grad;
      const auto logits = [&](const Batch& b) {
        return model(b.source, b.source_lengths, b.target, b.target_lengths);
      };
      CHECK(same_at_any_thread_count([&] { return std::vector{logits(sentences(0, 64))}; }));
      const Tensor all = logits(sentences(0, 64));
      for (const uint64_t size : {1, 2, 5, 16}) {
        int64_t row = 0;
        bool same = true;
        for (uint64_t first = 0; first + size <= 64; first += size) {
          const Tensor some = logits(sentences(first, first + size));
          same = same && same_bits(slice(all, 0, row, row + some.dim(0)), some);
          row += some.dim(0);
        }
        CAPTURE(size);
        CHECK(same);
      }
    }
}

TEST_CASE("bits: training and its validation are the same at any thread count") {
  for (const models::AttentionKind kind : kinds) {
    CAPTURE(to_string(kind));
    CHECK(same_at_any_thread_count([&] {
      Random random(17);
      models::Transformer model(small_config(kind), random);
      optim::AdamW optimizer({{model.parameters(), 0.01}}, 0.003);
      for (int64_t update = 0; update < 4; ++update) {
        optimizer.zero_grad();
        parallel_backward(20, [&](int64_t part) {
          const Batch b = sentences(160 * update + 8 * part, 160 * update + 8 * part + 7);
          model.loss(b.source, b.source_lengths, b.target, b.target_lengths, b.next, {.label_smoothing = Scalar(0.1)})
              .backward();
        });
        optim::clip_grad_norm(model.parameters(), 1);
        optimizer.step();
      }
      const NoGrad no_grad;
      const Batch b = sentences(1000, 1050);
      std::vector<Tensor> results = model.parameters();
      for (Tensor& result : results) result = result.detach().clone();
      results.push_back(model.loss(b.source, b.source_lengths, b.target, b.target_lengths, b.next));
      return results;
    }));
  }
}
