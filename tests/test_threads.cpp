// What runs on several threads at once, small enough for ThreadSanitizer: `make tsan` builds this file with it. In the
// ordinary builds the same tests compare bits.
#include <omp.h>

#include <algorithm>
#include <array>
#include <functional>
#include <limits>
#include <thread>

#include "core/ops.h"
#include "core/parallel_backward.h"
#include "models/decode.h"
#include "optim/optimizer.h"
#include "tests/testing.h"

using namespace difftensor;

namespace {
models::TransformerConfig tiny(models::AttentionKind attention) {
  models::TransformerConfig c;
  c.vocab = 23, c.d_model = 16, c.heads = 2, c.ff = 24, c.encoder_layers = c.decoder_layers = 1;
  c.attention = attention;
  return c;
}

const std::vector<std::vector<int32_t>> sources = {{5, 6, 7, 2}, {9, 2}, {4, 4, 8, 10, 2}, {11, 12, 2}};

// Three updates, each of four parts at once, then translations by beam search. Returns all weights.
std::vector<Scalar> train(models::AttentionKind attention) {
  Random random(1);
  models::Transformer model(tiny(attention), random);
  optim::AdamW optimizer({{model.parameters(), 0.01, 1}}, 0.01);
  for (int update = 0; update < 3; ++update) {
    model.zero_grad();
    parallel_backward(4, [&](int64_t i) {
      manual_seed(i);
      const auto length = static_cast<int64_t>(sources[i].size());
      std::vector<int32_t> target(sources[i]);
      target.insert(target.begin(), 1);
      target.pop_back();
      cross_entropy(model(sources[i], {length}, target, {length}), sources[i]).backward();
    });
    optimizer.step();
  }
  model.eval();
  models::DecodeOptions options;
  options.beam = 3, options.batch_size = 1;
  CHECK(models::decode(model, sources, options).size() == sources.size());
  std::vector<Scalar> weights;
  for (auto& parameter : model.parameters())
    for (Scalar x : parameter.values()) weights.push_back(x);
  return weights;
}
}  // namespace

TEST_CASE("two trainings in one process, at once, have the bits of one alone") {
  for (auto attention : {models::AttentionKind::softmax, models::AttentionKind::diff}) {
    const std::vector<Scalar> alone = train(attention);
    std::array<std::vector<Scalar>, 2> both;
    std::thread first([&] { both[0] = train(attention); }), second([&] { both[1] = train(attention); });
    first.join();
    second.join();
    CHECK(both[0] == alone);
    CHECK(both[1] == alone);
  }
}

TEST_CASE("every element of every leaf gets the gradient of every part, whatever its size") {
  for (const int64_t size : {1, 32768, 100'000, 1'200'000}) {
    CAPTURE(size);
    std::array<Tensor, 3> leaves{zeros({size}), zeros({7}), zeros({size})};
    for (Tensor& leaf : leaves) leaf.requires_grad();
    parallel_backward(5, [&](int64_t i) {
      for (int leaf : {0, 1, 2})
        if (leaf != 1 || i != 2) sum(leaves[leaf] * static_cast<Scalar>(i + 1)).backward();
    });
    for (int leaf : {0, 1, 2}) {
      const std::vector<Scalar> gradient = leaves[leaf].grad().values();
      CHECK(std::count(gradient.begin(), gradient.end(), leaf == 1 ? 12 : 15) == leaves[leaf].numel());
    }
  }
}

TEST_CASE("the times of a parallel_backward add up to what its threads had") {
  const Tensor leaf = zeros({100'000}).requires_grad();
  for (const int threads : {1, 3}) {
    const Threads some(threads);
    const double start = omp_get_wtime();
    const PassTimes times = parallel_backward(5, [&](int64_t) { sum(leaf).backward(); });
    const double had = threads * (omp_get_wtime() - start);
    double spent = times.packing + times.adding + times.waiting;
    for (const double part : times.parts) {
      CHECK(part > 0);
      spent += part;
    }
    CHECK(times.parts.size() == 5);
    CHECK(times.adding > 0);
    for (const double some_of_it : {times.packing, times.adding, times.waiting, spent})
      CHECK((some_of_it >= 0 && some_of_it <= had));
  }
}

TEST_CASE("leaves of two shapes over the same values, and a leaf written within a part, are read as they are") {
  Random random(1);
  const Tensor a = randn({6, 4}, random).requires_grad();
  const Tensor b = Tensor(Shape{4, 6}, a.storage()).requires_grad(), x = randn({3, 4}, random),
               y = randn({3, 6}, random);
  for (const Tensor& leaf : {a, b}) leaf.node()->name = "weight";  // as a module's: these are packed
  const auto loss = [&] { return sum(pow(linear(x, a), 2)) + sum(pow(linear(y, b), 2)); };
  const Scalar alone = loss().item();
  parallel_backward(2, [&](int64_t) {
    const Tensor l = loss();
    CHECK(l.item() == doctest::Approx(alone).epsilon(1e-5));
    l.backward();
  });
  // As in an inner step of meta-learning.
  parallel_backward(1, [&](int64_t) {
    Tensor inner = a.clone().requires_grad();
    inner.node()->name = "weight";
    const Scalar before = sum(linear(x, inner)).item();
    for (int64_t i = 0; i < inner.numel(); ++i) inner.data()[i] *= 2;
    CHECK(sum(linear(x, inner)).item() == doctest::Approx(2 * before).epsilon(1e-5));
  });
}

TEST_CASE("ops that cut their loops among threads") {
  const auto gradient = [](int threads) {
    const Threads some(threads);
    Random random(1);
    manual_seed(1);
    Tensor x = randn({300, 200}, random).requires_grad(), w = randn({200, 200}, random).requires_grad();
    Tensor gain = ones({200}).requires_grad(), bias = zeros({200}).requires_grad();
    for (int i = 0; i < 2; ++i) {
      Tensor y = layer_norm(gelu(linear(x, w, bias)), gain, bias);
      y = rms_norm(softmax(y) * y + dropout(y, Scalar(0.1)), gain);
      sum(attention(y, y, y, {4, packed_spans({100, 200}), packed_spans({100, 200}), true})).backward();
    }
    return x.grad().values();
  };
  CHECK(gradient(3) == gradient(1));
  std::vector<int> done(100'000);
  parallel_for(100'000, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) ++done[i];
  });
  CHECK(done == std::vector<int>(100'000, 1));
  CHECK_THROWS(parallel_for(100'000, [](int64_t, int64_t) { throw std::runtime_error("all pieces"); }));
}

TEST_CASE("blocks of memory, freed on other threads than asked for them") {
  std::array<Storage, 64> blocks;
  for (int round = 0; round < 4; ++round) {
    std::vector<std::thread> threads;
    for (size_t t = 0; t < 4; ++t)
      threads.emplace_back([&blocks, t, round] {
        for (size_t i = 0; i < 16; ++i) {
          Storage& block = blocks[i * 4 + (t + round) % 4];
          block = Storage(1000 + 10 * static_cast<int64_t>(i));
          std::fill_n(block.data(), block.size(), Scalar(t));
        }
      });
    for (auto& thread : threads) thread.join();
  }
  CHECK(allocator_stats().blocks_in_use >= 64);
  for (size_t i = 0; i < 16; ++i)
    for (size_t t = 0; t < 4; ++t) {  // of the last round, 3
      const Storage& block = blocks[i * 4 + (t + 3) % 4];
      CHECK(block.size() == 1000 + 10 * static_cast<int64_t>(i));
      CHECK(std::count(block.data(), block.data() + block.size(), Scalar(t)) == block.size());
    }
}

// --- Threads ---------------------------------------------------------------------------------------------------------

TEST_CASE("a graph may be built on several threads, one after the other") {
  for (int before_thread : {0, 100})
    for (int before_main : {0, 100}) {
      Tensor w = tensor({2}, {1}).requires_grad(), h, k;
      std::thread([&] {
        for (int i = 0; i < before_thread; ++i) (void)(w + w);
        h = w * w;
        h = h * h;
      }).join();
      for (int i = 0; i < before_main; ++i) (void)(w + w);
      Tensor m = h * w;                            // w^5
      std::thread([&] { k = m * h + w; }).join();  // w^9 + w
      Tensor loss = sum(k * w);                    // w^10 + w^2
      std::thread([&] { loss.backward(); }).join();
      CHECK(w.grad().item() == 10 * 512 + 4);
    }
}

TEST_CASE("a walk on one thread hides nothing from a walk on another") {
  Tensor w = tensor({2}, {1}).requires_grad(), h, bad = exp(w);
  h = w * w;
  Tensor refused = sum(h + bad);
  bad.data()[0] += 1;
  // Each thread walks h's node as its first. The first walk is refused; the second must still go through h.
  std::thread([&] { CHECK(contains(error_of([&] { refused.backward(); }), "exp (1,)")); }).join();
  Tensor loss = sum(h * h);
  std::thread([&] { loss.backward(); }).join();
  CHECK(w.grad().item() == 32);
}

TEST_CASE("a new thread records, whatever scope it was started in") {
  const NoGrad no_grad;
  bool records = false;
  std::thread([&] { records = grad_enabled(); }).join();
  CHECK(records);
  CHECK(!grad_enabled());
}

// --- Memory ----------------------------------------------------------------------------------------------------------

TEST_CASE("memory of threads that ended serves those that come") {
  release_cached_memory();
  const size_t before = allocator_stats().bytes_cached;
  constexpr int64_t bytes = int64_t{13} << 20;
  for (int i = 0; i < 66; ++i)
    std::thread([] { Storage storage(bytes / static_cast<int64_t>(sizeof(Scalar))); }).join();
  CHECK(allocator_stats().bytes_cached - before < 2 * bytes);
  release_cached_memory();
}

TEST_CASE("storage may be freed when its thread's other variables are gone") {
  const size_t before = allocator_stats().blocks_in_use;
  std::thread([] {
    thread_local Storage kept;  // made before the thread's first block, so it goes after what that brought along
    kept = Storage(1000);
  }).join();
  CHECK(allocator_stats().blocks_in_use == before);
}

TEST_CASE("a size that memory cannot hold") {
  for (int64_t count : {int64_t{-1}, std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max(),
                        int64_t{1} << 61, int64_t{1} << 62})
    CHECK_THROWS_AS(Storage{count}, std::bad_alloc);
}

#ifdef __SANITIZE_ADDRESS__
extern "C" int __asan_address_is_poisoned(const volatile void*);
TEST_CASE("AddressSanitizer sees what lies beyond the elements asked for") {
  for (int64_t count : {0, 1, 2, 3, 17, 1000, 12345}) {
    Storage storage(count);
    const Scalar* data = storage.data();
    for (int64_t i = 0; i < count; ++i) REQUIRE(!__asan_address_is_poisoned(data + i));
    for (int64_t i = count; i < count + 16; ++i) CHECK(__asan_address_is_poisoned(data + i));
    storage = {};
    CHECK(__asan_address_is_poisoned(data));
  }
}
#endif
