// The exponential over all floats, softmax, and products cut among threads.
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "core/kernels/gemm.h"
#include "core/kernels/softmax.h"
#include "core/ops.h"
#include "tests/testing.h"

using namespace difftensor;

namespace {
constexpr Scalar infinity = std::numeric_limits<Scalar>::infinity();

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.data(), b.data(), a.numel() * sizeof(Scalar)) == 0;
}
}  // namespace

TEST_CASE("float exp: at most 1.02 units in the last place over the whole range") {
  // Every 251st float of either sign (over all of them, which takes a minute, the worst is 1.0104).
  double worst = 0;
  int64_t wrong = 0;
  for (uint64_t bits = 0; bits < (uint64_t{1} << 32); bits += 251) {
    const float x = std::bit_cast<float>(static_cast<uint32_t>(bits));
    const float y = kernels::exp(x), softmax_term = kernels::exp_nonpositive(x);
    if (x <= 0) wrong += x < -87.33f ? softmax_term != 0 : softmax_term != y;
    if (std::isnan(x)) {
      wrong += !std::isnan(y);
      continue;
    }
    const double exact = std::exp(static_cast<double>(x));
    if (exact > std::numeric_limits<float>::max()) {  // rounds to infinity or to the largest float
      wrong += !(y == std::numeric_limits<float>::infinity() || exact < 3.40282357e38);
    } else if (exact < std::numeric_limits<float>::min()) {  // denormal: an absolute error of one step
      wrong += !(std::abs(y - exact) <= 1.01 * std::numeric_limits<float>::denorm_min());
    } else {
      const double ulp = std::ldexp(1.0, std::ilogb(exact) - 23);
      worst = worse(worst, std::abs(y - exact) / ulp);
    }
  }
  MESSAGE("worst error in units in the last place: ", worst);
  CHECK(wrong == 0);
  CHECK(worst <= 1.02);
}

TEST_CASE("exp at the ends") {
  CHECK(kernels::exp(Scalar{0}) == 1);
  CHECK(kernels::exp(-infinity) == 0);
  CHECK(kernels::exp(infinity) == infinity);
  CHECK(kernels::exp(88.73f) == std::numeric_limits<float>::infinity());
  CHECK(kernels::exp(88.72f) < std::numeric_limits<float>::infinity());
  CHECK(kernels::exp(-103.f) > 0);  // denormal
  CHECK(kernels::exp(-104.f) == 0);
  CHECK(std::isnan(kernels::exp(std::numeric_limits<Scalar>::quiet_NaN())));
  CHECK(std::isnan(kernels::exp_nonpositive(std::numeric_limits<Scalar>::quiet_NaN())));
}

TEST_CASE("softmax: large scores, masked keys, and rows with nothing to attend to") {
  Tensor y = softmax(tensor({1000, 1000, -1000, 0, -infinity, 0, -infinity, -infinity, -infinity}, {3, 3}));
  CHECK(y.values() == std::vector<Scalar>{0.5, 0.5, 0, 0.5, 0, 0.5, 0, 0, 0});
  CHECK(std::isnan(softmax(tensor({0, std::numeric_limits<Scalar>::quiet_NaN()}, {2})).values()[0]));
}

TEST_CASE("a softmax too large for the caches is the same") {
  Random random(3);
  for (const int64_t width : {1040, 1041}) {
    Tensor x = randn({5000, width}, random, 4);
    for (int64_t i = 0; i < width; ++i) x.data()[i] = i % 3 ? -std::numeric_limits<Scalar>::infinity() : Scalar(-200);
    const Tensor y = softmax(x);
    double worst = 0;
    for (const int64_t row : {0, 1, 2500, 4999}) {
      const Tensor alone = softmax(slice(x, 0, row, row + 1));
      for (int64_t i = 0; i < width; ++i)
        worst = worse(worst, std::abs(static_cast<double>(y.data()[row * width + i] - alone.data()[i])));
    }
    CHECK(worst <= std::numeric_limits<Scalar>::epsilon());
    CHECK(sum(y).item() == doctest::Approx(5000));
  }
}

TEST_CASE("gradients stay finite where a row is masked") {
  Tensor x = tensor({1, 2, 3, 4}, {2, 2}).requires_grad();
  Tensor y = softmax(masked_fill(x, tensor({1, 1, 0, 1}, {2, 2}), -infinity));
  sum(y * tensor({1, 2, 3, 4}, {2, 2})).backward();
  for (Scalar g : x.grad().values()) CHECK(g == 0);
}

TEST_CASE("every op gives the same bits at 1, 2 and 3 threads") {
  std::vector<Tensor> first;
  for (int n : {1, 2, 3}) {
    const Threads threads(n);
    Random random(1);
    Tensor x = randn({777, 96}, random).requires_grad(), w = randn({64, 96}, random).requires_grad();
    Tensor b = randn({64}, random).requires_grad(), gain = randn({64}, random).requires_grad();
    Tensor lambda = scalar(Scalar(0.3)).requires_grad(), gate = randn({777, 64}, random).requires_grad();
    Spans spans = packed_spans({1, 300, 17, 459});
    manual_seed(5);
    Tensor y = rms_norm(linear(x, w, b), gain) * swiglu(gate, gate);
    y = diff_attention(y, y, y, lambda, {4, spans, spans, true});
    y = layer_norm(dropout(y, Scalar(0.1)), gain, b);
    const Tensor image = reshape(slice(cumsum(y, 0), 0, 0, 768), {2, 8, 64, 48});
    const Tensor seen = max_pool2d(conv2d(image, reshape(w, {48, 8, 4, 4})), 2);
    const Tensor picked = gather(y, 0, argmax(reshape(y, {7, 111, 64}), 1)) + logsumexp(y, 0, true);
    Tensor loss = cross_entropy(y, std::vector<int32_t>(777, 3), {Scalar(0.1), -100, 0});
    loss = loss + mean(seen * seen) + mean(picked * sort(picked, 0).values);
    loss.backward();
    std::vector<Tensor> results{y.detach(), loss.detach()};
    for (const Tensor* leaf : {&x, &w, &b, &gain, &lambda, &gate}) results.push_back(leaf->grad());
    if (first.empty()) first = results;
    for (size_t i = 0; i < results.size(); ++i) {
      CAPTURE(n);
      CAPTURE(i);
      CHECK(same_bits(first[i], results[i]));
    }
  }
}

TEST_CASE("products of all shapes, by panels and by OpenBLAS, are sums of products") {
  Random random(7);
  double worst = 0;
  for (int64_t M : {1, 5, 33, 64, 300})
    for (int64_t N : {1, 16, 32, 96, 100})
      for (int64_t K : {1, 16, 77, 300})
        for (int flags = 0; flags < 4; ++flags) {
          const bool ta = flags & 1, tb = flags & 2;
          const Tensor A = ta ? randn({K, M}, random) : randn({M, K}, random);
          const Tensor B = tb ? randn({N, K}, random) : randn({K, N}, random);
          for (Scalar beta : {0, 1}) {
            const Tensor before = beta == 0 ? full({M, N}, NAN) : randn({M, N}, random);
            Tensor C = before.clone();
            kernels::parallel_gemm(ta, tb, M, N, K, A.data(), B.data(), beta, C.data());
            for (int64_t i = 0; i < M; ++i)
              for (int64_t j = 0; j < N; ++j) {
                double sum = beta == 0 ? 0 : static_cast<double>(before.data()[i * N + j]), size = std::abs(sum);
                for (int64_t k = 0; k < K; ++k) {
                  const double term = static_cast<double>(A.data()[ta ? k * M + i : i * K + k]) *
                                      static_cast<double>(B.data()[tb ? j * K + k : k * N + j]);
                  sum += term, size += std::abs(term);
                }
                worst = worse(worst, std::abs(static_cast<double>(C.data()[i * N + j]) - sum) / size);
              }
          }
        }
  MESSAGE("worst error, relative to the sum of the terms' sizes: ", worst);
  CHECK(worst <= 4 * std::numeric_limits<Scalar>::epsilon());
}

TEST_CASE("the loss fused with its projection is the loss of the projection, for any number of rows") {
  std::vector<int64_t> sizes(200);
  std::iota(sizes.begin(), sizes.end(), 1);
  sizes.insert(sizes.end(), {513, 1100});
  for (int64_t rows : sizes) {
    CAPTURE(rows);
    Random random(rows);
    const Tensor x = randn({rows, 32}, random), w = randn({97, 32}, random);
    std::vector<int32_t> targets;
    for (int64_t i = 0; i < rows; ++i) targets.push_back(i % 5 == 4 ? -100 : static_cast<int32_t>(random.below(97)));
    std::vector<Tensor> results[2];
    double nll[2];
    for (bool fused : {false, true}) {
      Tensor a = x.clone().requires_grad(), b = w.clone().requires_grad();
      const CrossEntropyOptions options{.label_smoothing = Scalar(0.1), .normalizer = 50, .nll = &nll[fused]};
      Tensor loss =
          fused ? linear_cross_entropy(a, b, targets, options) : cross_entropy(linear(a, b), targets, options);
      (loss * Scalar{3}).backward();
      results[fused] = {loss.detach(), a.grad(), b.grad()};
    }
    for (int i = 0; i < 3; ++i) CHECK(largest_difference(results[0][i], results[1][i]) < 30 * rounding);
    CHECK(nll[0] == doctest::Approx(nll[1]).epsilon(1e-5));
  }
}

TEST_CASE("without smoothing, impossible classes may have logits of minus infinity") {
  const Scalar none = -std::numeric_limits<Scalar>::infinity();
  const Tensor logits = tensor({1, none, 2, none, 0, 0}, {2, 3}).requires_grad();
  Tensor loss = cross_entropy(logits, {2, 1});
  CHECK(loss.item() == doctest::Approx((std::log1p(std::exp(-1.0)) + std::log(2.0)) / 2));
  loss.backward();
  for (Scalar g : logits.grad().values()) CHECK(std::isfinite(g));
  CHECK(logits.grad().data()[1] == 0);
}

TEST_CASE("fused attention equals matmul and softmax for all lengths, forward and backward") {
  const double tolerance = sizeof(Scalar) == 4 ? 2e-5 : 1e-12;
  double worst = 0;
  for (int64_t T = 1; T <= 200; ++T)
    for (int kind = 0; kind < 4; ++kind) {  // softmax; diff; diff-v2 (shared keys, lambda rows); diff, cross
      Random random(T);
      const int64_t S = kind == 3 ? 201 - T : T;
      const int h = 2, d = 6;
      AttentionLayout layout{h, packed_spans({3, T}), packed_spans({3, S}), kind != 3};
      Tensor q = randn({3 + T, h * d * (kind ? 2 : 1)}, random), k = randn({3 + S, h * d * (kind % 2 ? 2 : 1)}, random);
      Tensor v = randn({3 + S, h * 5}, random);
      Tensor lambda = kind == 2 ? rand({3 + T, h}, random) : scalar(Scalar(0.4));
      Tensor seed = randn({3 + T, h * 5}, random);
      std::vector<std::vector<Tensor>> results;
      for (bool plain : {true, false}) {
        std::vector<Tensor> in{q.clone().requires_grad(), k.clone().requires_grad(), v.clone().requires_grad(),
                               lambda.clone().requires_grad()};
        Tensor out = kind == 0 ? (plain ? plain_attention : attention)(in[0], in[1], in[2], layout)
                               : (plain ? plain_diff_attention : diff_attention)(in[0], in[1], in[2], in[3], layout);
        out.backward(seed);
        results.push_back({out.detach()});
        for (int i = 0; i < (kind ? 4 : 3); ++i) results.back().push_back(in[i].grad());
      }
      for (size_t i = 0; i < results[0].size(); ++i)
        for (int64_t j = 0; j < results[0][i].numel(); ++j) {
          const double a = results[0][i].data()[j], b = results[1][i].data()[j];
          worst = worse(worst, std::abs(a - b) / std::max(1.0, std::abs(a)));
        }
    }
  MESSAGE("worst difference: ", worst);
  CHECK(worst <= tolerance);
}

TEST_CASE("fused attention stores no map: memory grows with the length, not with its square") {
  Random random(1);
  const int64_t T = 2048, map = T * T * static_cast<int64_t>(sizeof(Scalar));
  const AttentionLayout layout{2, {{0, T}}, {{0, T}}, true};
  // All that was asked of the allocator and not returned to the system, in bytes.
  auto held = [] {
    const AllocatorStats stats = allocator_stats();
    return static_cast<int64_t>(stats.bytes_in_use + stats.bytes_cached);
  };
  auto grown = [&](auto attend) {
    std::vector<Tensor> in;
    for (const int64_t width : {64, 64, 64}) in.push_back(randn({T, width}, random).requires_grad());
    const Tensor lambda = scalar(Scalar(0.4)).requires_grad(), seed = randn({T, 64}, random);
    release_cached_memory();
    const int64_t before = held();
    attend(in[0], in[1], in[2], lambda, layout).backward(seed);
    return held() - before;
  };
  const int64_t fused = grown(diff_attention);
  MESSAGE("MiB beyond the inputs: ", fused >> 20);
  CHECK(fused < map);
#ifndef __SANITIZE_ADDRESS__  // where freed blocks do not count
  CHECK(grown(plain_diff_attention) > 4 * map);
#endif
}

TEST_CASE("kernels agree with their formulas in double on odd shapes") {
  const double tolerance = sizeof(Scalar) == 4 ? 1e-5 : 1e-12;
  Random random(7);
  auto at = [](const Tensor& t, int64_t row, int64_t column) {
    return static_cast<double>(t.data()[row * t.dim(-1) + column]);
  };
  double worst = 0;
  auto compare = [&](Scalar got, double wanted) {
    worst = worse(worst, std::abs(static_cast<double>(got) - wanted) / std::max(1.0, std::abs(wanted)));
  };

  for (const int64_t width : {1, 2, 15, 16, 17, 31, 33, 63, 100, 257}) {
    CAPTURE(width);
    const Tensor x = randn({3, width}, random, 3), w = randn({width}, random), u = randn({3, width}, random);
    const Tensor probabilities = softmax(x), normed = rms_norm(x, w), gated = swiglu(x, u);
    for (int64_t r = 0; r < 3; ++r) {
      double sum = 0, square = 0;
      for (int64_t i = 0; i < width; ++i) sum += std::exp(at(x, r, i)), square += at(x, r, i) * at(x, r, i);
      const double rms = std::sqrt(square / static_cast<double>(width) + 1e-5);
      for (int64_t i = 0; i < width; ++i) {
        const double value = at(x, r, i);
        compare(probabilities.data()[r * width + i], std::exp(value) / sum);
        compare(normed.data()[r * width + i], value / rms * at(w, 0, i));
        compare(gated.data()[r * width + i], value / (1 + std::exp(-value)) * at(u, r, i));
      }
    }
  }

  // (A1 - lambda A2) V, with h = 2, d = 7 and values 9 wide
  const int64_t h = 2, d = 7, e = 9;
  const double lambda = 0.3;
  for (const int64_t T : {1, 2, 13, 17, 31, 65, 129}) {
    CAPTURE(T);
    const Tensor q = randn({T, h * 2 * d}, random), k = randn({T, h * 2 * d}, random), v = randn({T, h * e}, random);
    const Tensor out = diff_attention(q, k, v, scalar(Scalar(lambda)), {static_cast<int>(h), {{0, T}}, {{0, T}}, true});
    for (int64_t head = 0; head < h; ++head)
      for (int64_t i = 0; i < T; ++i) {
        std::vector<double> difference(T, 0);
        for (int m = 0; m < 2; ++m) {
          std::vector<double> map(i + 1, 0);
          for (int64_t j = 0; j <= i; ++j) {
            for (int64_t c = (head * 2 + m) * d; c < (head * 2 + m + 1) * d; ++c) map[j] += at(q, i, c) * at(k, j, c);
            map[j] = std::exp(map[j] / std::sqrt(static_cast<double>(d)));
          }
          const double sum = std::accumulate(map.begin(), map.end(), 0.0);
          for (int64_t j = 0; j <= i; ++j) difference[j] += (m ? -lambda : 1) * map[j] / sum;
        }
        for (int64_t c = head * e; c < (head + 1) * e; ++c) {
          double wanted = 0;
          for (int64_t j = 0; j <= i; ++j) wanted += difference[j] * at(v, j, c);
          compare(out.data()[i * h * e + c], wanted);
        }
      }
  }
  MESSAGE("worst error: ", worst);
  CHECK(worst <= tolerance);
}

TEST_CASE("a query that sees no key gives zeros, and sends no gradient") {
  // Causal with more queries than keys: the first T - S rows see nothing.
  Random random(2);
  Tensor q = randn({5, 4}, random).requires_grad(), k = randn({2, 4}, random).requires_grad();
  Tensor v = randn({2, 4}, random).requires_grad();
  Tensor y = attention(q, k, v, {1, {{0, 5}}, {{0, 2}}, true});
  for (int i = 0; i < 12; ++i) CHECK(y.data()[i] == 0);
  sum(y).backward();
  for (int i = 0; i < 12; ++i) CHECK(q.grad().data()[i] == 0);
  for (Scalar g : k.grad().values()) CHECK(std::isfinite(g));
}
