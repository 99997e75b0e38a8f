// The engine itself: graphs, their life and death, and the errors it gives.

#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <mutex>
#include <thread>

#include "core/ops.h"
#include "core/parallel_backward.h"
#include "tests/testing.h"

using namespace difftensor;

TEST_CASE("a small expression by hand") {
  Tensor x = tensor({2, 3}, {2}).requires_grad(), w = tensor({4, 5}, {2}).requires_grad();
  Tensor loss = sum(x * w + x);  // d/dx = w + 1, d/dw = x
  CHECK(loss.item() == 2 * 4 + 3 * 5 + 5);
  loss.backward();
  CHECK(x.grad().values() == std::vector<Scalar>{5, 6});
  CHECK(w.grad().values() == std::vector<Scalar>{2, 3});
}

TEST_CASE("gradients add up: one tensor used many times, several backward passes, a leaf as its own result") {
  Tensor x = tensor({3}, {1}).requires_grad();
  Tensor y = x + x;
  (y * y + y).backward();  // (2x)^2 + 2x -> 8x + 2
  CHECK(x.grad().item() == 26);
  sum(x * Scalar{2}).backward();
  CHECK(x.grad().item() == 28);
  x.backward();
  CHECK(x.grad().item() == 29);
  x.zero_grad();
  CHECK(!x.grad().defined());
}

TEST_CASE("a passed-on gradient is copied before it is added to") {
  // a and b each receive the sum's gradient; a then receives more, which b must not see.
  Tensor a = ones({3}).requires_grad(), b = ones({3}).requires_grad();
  Tensor twice = a * Scalar{2};
  sum((a + b) + twice).backward();
  CHECK(a.grad().values() == std::vector<Scalar>{3, 3, 3});
  CHECK(b.grad().values() == std::vector<Scalar>{1, 1, 1});
}

TEST_CASE("seeds") {
  Tensor x = tensor({1, 2, 3}, {3}).requires_grad();
  Tensor y = x * x;
  CHECK(contains(error_of([&] { y.backward(); }), "backward: a result of shape (3,) has not one element"));
  CHECK(contains(error_of([&] { y.backward(ones({2})); }), "seed of shape (2,) for a result of shape (3,)"));
  y.backward(tensor({1, 10, 100}, {3}));
  CHECK(x.grad().values() == std::vector<Scalar>{2, 40, 600});
}

TEST_CASE("gradients of broadcast operands are right for long sums in float too") {
  const int64_t n = 20'000'000;
  Tensor one = scalar(1).requires_grad(), row = ones({2}).requires_grad();
  (one + zeros({n})).backward(ones({n}));
  CHECK(one.grad().item() == n);
  (row + zeros({n, 2})).backward(ones({n, 2}));
  CHECK(row.grad().values() == std::vector<Scalar>(2, n));
}

TEST_CASE("gradients at the edges of powers and quotients") {
  // d/da a^0 = 0 everywhere, d/da a^1 = 1, d/da a^2 = 2a, also at 0
  const std::vector<Scalar> a{0, 0, 0, -2}, expected{0, 1, 0, 0};
  Tensor x = tensor(a, {4}).requires_grad();
  sum(pow(x, tensor({0, 1, 2, 0}, {4}))).backward();
  CHECK(x.grad().values() == expected);
  x.zero_grad();
  sum(pow(x, Scalar{0})).backward();
  CHECK(x.grad().values() == std::vector<Scalar>(4, 0));

  // d/db a / b = -a / b^2, though b^2 is infinite
  const Scalar big = std::sqrt(std::numeric_limits<Scalar>::max()) * 4;
  Tensor b = scalar(big).requires_grad();
  div(scalar(big), b).backward();
  CHECK(b.grad().item() == -1 / big);
}

TEST_CASE("a graph is used once") {
  Tensor x = ones({2}).requires_grad();
  Tensor middle = x * x, loss = sum(middle);
  loss.backward();
  CHECK(contains(error_of([&] { loss.backward(); }), "was freed by an earlier backward()"));
  CHECK(contains(error_of([&] { sum(middle).backward(); }), "mul (2,) was freed"));
  CHECK(x.grad().values() == std::vector<Scalar>{2, 2});  // and the failures changed nothing
  CHECK(contains(error_of([] { ones({}).backward(); }), "nothing this result depends on requires a gradient"));
  CHECK(contains(error_of([&] { (x * x).requires_grad(); }), "only a leaf can be a parameter"));
}

TEST_CASE("NoGrad records nothing, detach cuts") {
  Tensor x = ones({2}).requires_grad();
  {
    NoGrad outer;
    { NoGrad inner; }
    CHECK(!(x * x).needs_grad());
  }
  CHECK((x * x).needs_grad());
  CHECK(!(x.detach() * x.detach()).needs_grad());
  CHECK(x.detach().data() == x.data());
}

TEST_CASE("inputs that need no gradient get none") {
  Tensor x = ones({2, 2}).requires_grad(), c = ones({2, 2});
  sum(matmul(x, c) * c + c / x).backward();
  CHECK(!c.needs_grad());
  CHECK(!c.grad().defined());
}

TEST_CASE("a parameter that is frozen and learns again keeps its gradient and its place in graphs") {
  Tensor w = tensor({2}, {1}).requires_grad();
  Tensor loss = sum(w * w);
  w.requires_grad(false);
  CHECK(!w.needs_grad());
  CHECK(!sum(w * w).needs_grad());
  w.requires_grad(true);
  loss.backward();
  CHECK(w.grad().item() == 4);

  w.requires_grad(false);
  w.requires_grad(false);
  CHECK(!w.grad().defined());
  w.requires_grad(true);
  w.requires_grad(true);
  CHECK(w.grad().item() == 4);

  loss = sum(w * w);
  w.requires_grad(false);
  loss.backward();  // a graph from before
  w.requires_grad(true);
  CHECK(w.grad().item() == 8);

  w.requires_grad(false);
  w.zero_grad();
  w.requires_grad(true);
  CHECK(!w.grad().defined());
}

TEST_CASE("an op knows that it is computed within a backward pass") {
  Tensor x = ones({1}).requires_grad();
  std::vector<bool> inside;
  const auto note = [&](const Tensor& t, bool throws) {
    return record("note", t.detach() + 0, {t},
                  [&, throws](const Gradients& g) {
                    inside.push_back(inside_backward());
                    sum(x * x).backward();  // a pass within a pass
                    inside.push_back(inside_backward());
                    if (throws) throw std::runtime_error("thrown by an op");
                    g.add_output_gradient(0);
                  },
                  {});
  };
  CHECK(!inside_backward());
  note(x, false).backward();
  CHECK(!inside_backward());
  CHECK(error_of([&] { note(x, true).backward(); }) == "thrown by an op");
  CHECK(!inside_backward());
  CHECK(inside == std::vector<bool>(4, true));
}

TEST_CASE("100,000 ops deep, and both ways of dying") {
  const int64_t before = live_nodes();
  Tensor x = ones({1}).requires_grad();
  for (bool run : {true, false}) {
    Tensor y = x;
    for (int i = 0; i < 100000; ++i) y = y + Scalar(1);
    CHECK(live_nodes() == before + 100001);
    if (run) y.backward();
  }
  CHECK(x.grad().item() == 1);
  CHECK(live_nodes() == before + 1);
}

TEST_CASE("a graph with many paths is walked once per node") {
  Tensor x = ones({1}).requires_grad();
  Tensor y = x;
  for (int i = 0; i < 60; ++i) y = (y + y) * Scalar(0.5);  // 2^60 paths
  y.backward();
  CHECK(x.grad().item() == 1);
}

TEST_CASE("a closure that gives a gradient of another size, or to no input, is refused") {
  const auto mine = [](const Tensor& out, auto closure) {
    const Tensor w = ones({4}).requires_grad();
    return error_of([&] { record("mine", out, {w}, closure).backward(ones(out.shape())); });
  };
  CHECK(mine(scalar(1), [](const Gradients& g) { g.add_output_gradient(0); }) ==
        "mine: the gradient of its result () is not that of input 0 (4,)");
  CHECK(mine(scalar(1), [](const Gradients& g) { g.add(0, Storage(2)); }) ==
        "mine: 2 values for the gradient of input 0 (4,)");
  for (const int i : {-1, 1, 9}) {
    const std::string error = "mine: there is no input " + std::to_string(i) + " among 1";
    CHECK(mine(ones({4}), [i](const Gradients& g) { g.add_output_gradient(i); }) == error);
    CHECK(mine(ones({4}), [i](const Gradients& g) { g.add(i, Storage(4)); }) == error);
    CHECK(mine(ones({4}), [i](const Gradients& g) { g.buffer(i); }) == error);
    CHECK(mine(ones({4}), [i](const Gradients& g) { g.wants(i); }) == error);
  }
  CHECK(mine(ones({2, 2}), [](const Gradients& g) { g.add_output_gradient(0); }) == "no error");  // as in reshape
}

TEST_CASE("anomalies are named, forward and backward") {
  DetectAnomaly scope;
  Tensor x = tensor({0, 1}, {2}).requires_grad();
  CHECK(contains(error_of([&] { log(x); }), "log: NaN or infinity in its result of shape (2,)"));
  Tensor loss = sum(sqrt(x));  // fine forward; the slope at 0 is infinite
  CHECK(
      contains(error_of([&] { loss.backward(); }), "sqrt: NaN or infinity in the gradient of its input of shape (2,)"));
  const Scalar inf = std::numeric_limits<Scalar>::infinity();
  CHECK(error_of([&] { masked_fill(x, x, -inf); }) == "no error");
  // An infinity that came in is meant; what is made of it is not, if it is NaN.
  Tensor scores = randn({2, 2}, default_random()).requires_grad();
  const Tensor mask = tensor({0, -inf, 0, 0}, {2, 2});
  CHECK(error_of([&] { sum(softmax(scores + mask) * scores).backward(); }) == "no error");
  CHECK(contains(error_of([&] { mask - mask; }), "sub: NaN or infinity in its result of shape (2, 2)"));
  CHECK(contains(error_of([&] { exp(full({2}, 1000)); }), "exp: NaN or infinity"));
}

// A reference to what requires_grad() returns for a temporary would dangle: it is a handle of its own.
static_assert(!std::is_reference_v<decltype(std::declval<Tensor>().requires_grad())>);
static_assert(std::is_reference_v<decltype(std::declval<Tensor&>().requires_grad())>);

TEST_CASE("a backward pass that threw leaves nothing to be added to") {
  Tensor x = tensor({4}, {1}).requires_grad();
  Tensor m = x * 1, total = sqrt(m - m) + m * 3;
  {
    DetectAnomaly scope;
    CHECK_THROWS(total.backward());  // after m has got the 3
  }
  CHECK(contains(error_of([&] { m.backward(); }), "was freed by an earlier backward()"));
}

TEST_CASE("each thread has its own graphs, NoGrad and random numbers") {
  NoGrad here;
  manual_seed(1);
  Scalar grad = 0;
  std::thread([&] {
    manual_seed(2);
    default_random().bits();
    Tensor x = tensor({3}, {1}).requires_grad();
    (x * x).backward();
    grad = x.grad().item();
  }).join();
  CHECK(grad == 6);
  CHECK(default_random().bits() == Random(1).bits());
}

TEST_CASE("a parameter may have a gradient in some parts only, and keep one from before") {
  const Tensor w = tensor({1, 2}, {2}).requires_grad(), rare = tensor({3, 4}, {2}).requires_grad();
  for (int threads : {1, 2, 5}) {
    const Threads some(threads);
    w.zero_grad(), rare.zero_grad();
    sum(w).backward();
    const Tensor before = w.grad();  // a handle to the gradient: the sum goes elsewhere
    parallel_backward(12, [&](int64_t i) { sum(i % 5 == 3 ? w * rare * Scalar(i) : w * Scalar(i)).backward(); });
    CHECK(before.values() == std::vector<Scalar>{1, 1});
    CHECK(w.grad().values() == std::vector<Scalar>{1 + 55 + 11 * 3, 1 + 55 + 11 * 4});  // 3 and 8 are with `rare`
    CHECK(rare.grad().values() == std::vector<Scalar>{11, 22});
  }
}

TEST_CASE("parts that are done early wait: there are no more gradients than threads and levels of the tree") {
  const Tensor w = ones({1 << 18}).requires_grad();
  for (int threads : {1, 2, 4}) {
    const Threads some(threads);
    w.zero_grad();
    const size_t before = allocator_stats().bytes_in_use, gradient = sizeof(Scalar) << 18;
    std::atomic<size_t> most = 0;
    parallel_backward(24, [&](int64_t i) {
      sum(w).backward();  // nothing is made here but the gradient
      if (i == 0) std::this_thread::sleep_for(std::chrono::milliseconds(30));
      const size_t now = allocator_stats().bytes_in_use - before;
      for (size_t seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
      }
    });
    CAPTURE(threads);
    CHECK(most >= gradient);
    CHECK(most < (static_cast<size_t>(threads) + 5) * (gradient + gradient / 8) + 4096);
    CHECK(w.grad().values() == std::vector<Scalar>(1 << 18, 24));
  }
}

TEST_CASE("the order of additions is a binary tree, and each process has whole branches of it") {
  const auto text = [](int64_t n) {  // as ((0 1) 2)
    std::vector<std::string> sums;
    for (int64_t i = 0; i < n; ++i) sums.push_back(std::to_string(i));
    for (const Addition& a : additions(n)) sums[a.to] = "(" + sums[a.to] + " " + sums[a.from] + ")";
    return n ? sums[0] : "";
  };
  CHECK(text(0) == "");
  CHECK(text(1) == "0");
  CHECK(text(3) == "((0 1) 2)");
  CHECK(text(7) == "(((0 1) (2 3)) ((4 5) 6))");
  CHECK(text(8) == "(((0 1) (2 3)) ((4 5) (6 7)))");

  Random random(8);
  const Tensor w = randn({2, 30000}, random).requires_grad(), rare = randn({7}, random).requires_grad();
  const auto part = [&](int64_t i) {
    Random own(6, static_cast<uint64_t>(i));
    const Tensor loss = sum(w * randn({2, 30000}, own));
    (i == 9 ? loss + sum(rare * rare) : loss).backward();
  };
  for (const int64_t n : {1, 8, 21, 32})
    for (const int64_t processes : {2, 3, 4}) {
      CAPTURE(n);
      CAPTURE(processes);
      w.zero_grad(), rare.zero_grad();
      parallel_backward(n, part);
      const Threads some(static_cast<int>(processes));
      PartialSums sums;
      std::vector<int64_t> borders;
      for (int64_t p = 0; p <= processes; ++p) borders.push_back(n * p / processes);
      for (int64_t p = 0; p < processes; ++p) {
        PartialSums own = partial_backward(n, borders[p], borders[p + 1], part);
        if (n == 32 && processes != 3) CHECK(own.size() == 1);
        sums.merge(own);
      }
      for (const Addition& a : additions(n)) {
        if (!sums.contains(a.from)) continue;  // added by the process that had both
        for (auto& [leaf, gradient] : sums.at(a.from))
          if (Storage& sum = sums.at(a.to)[leaf])
            for (int64_t i = 0; i < sum.size(); ++i) sum.data()[i] += gradient.data()[i];
          else
            sum = gradient;
      }
      for (const Tensor& leaf : {w, rare}) {
        const auto& all = sums.at(0);
        const auto found = all.find(leaf.node().get());
        REQUIRE((found != all.end()) == leaf.grad().defined());
        if (leaf.grad().defined())
          CHECK(leaf.grad().values() == std::vector<Scalar>(std::as_const(found->second).data(),
                                                            std::as_const(found->second).data() + leaf.numel()));
      }
    }
  CHECK_THROWS_WITH(partial_backward(4, 2, 5, part), "partial_backward: parts [2, 5) of 4");
}

TEST_CASE("parts of a batch on several threads: the gradient of their sum, the same bits with any number") {
  Random random(5);
  const Tensor w = randn({3, 40}, random).requires_grad(), b = randn({40}, random).requires_grad();
  auto part = [&](int64_t i) {
    Random own(6, static_cast<uint64_t>(i));
    return sum(tanh(matmul(randn({5, 3}, own), w) + b));
  };
  std::vector<std::vector<Scalar>> gradients;
  for (int threads : {1, 2, 3, 5, 16}) {
    const Threads some(threads);
    w.zero_grad(), b.zero_grad();
    parallel_backward(40, [&](int64_t i) { part(i).backward(); });
    gradients.push_back(w.grad().values());
    for (Scalar g : b.grad().values()) gradients.back().push_back(g);
  }
  for (const auto& other : gradients) CHECK(other == gradients[0]);
  const Threads three(3);
  parallel_backward(40, [&](int64_t i) { part(i).backward(); });  // adds to what is there
  w.zero_grad();
  Tensor total = scalar(0);
  for (int64_t i = 0; i < 40; ++i) total = total + part(i);
  total.backward();
  for (int64_t i = 0; i < w.numel(); ++i) CHECK(w.grad().data()[i] == doctest::Approx(gradients[0][i]).epsilon(1e-5));
  for (int64_t i = 0; i < b.numel(); ++i)
    CHECK(b.grad().data()[i] == doctest::Approx(3 * gradients[0][w.numel() + i]).epsilon(1e-5));

  CHECK_THROWS_WITH_AS(parallel_backward(4, [&](int64_t i) { require(i != 2, "part", i, " fails"); }), "part: 2 fails",
                       std::invalid_argument);
  {
    DetectAnomaly checks;  // holds on the other threads too
    CHECK_THROWS_AS(parallel_backward(4, [&](int64_t) { log(w * 0 - 1); }), std::runtime_error);
  }
  manual_seed(3);
  w.zero_grad(), b.zero_grad();
  parallel_backward(4, [&](int64_t i) {
    manual_seed(9, i);
    part(i).backward();
    CHECK(w.grad().defined());  // its own
    w.zero_grad();
  });
  CHECK_FALSE(w.grad().defined());
  CHECK(b.grad().defined());
  CHECK(default_random().bits() == Random(3).bits());
  CHECK_THROWS_WITH(
      parallel_for(100, 1, [](int64_t begin, int64_t) { require(begin != 50, "piece", begin, " fails"); }),
      "piece: 50 fails");
}

TEST_CASE("a leaf that only a part knew is forgotten with it; one that others know has its gradient") {
  const Tensor w = ones({1}).requires_grad();
  for (int threads : {1, 2, 5}) {
    CAPTURE(threads);
    const Threads some(threads);
    const int64_t nodes = live_nodes();
    const size_t blocks = allocator_stats().blocks_in_use;
    w.zero_grad();
    const auto part = [&](int64_t i) {
      for (const int64_t size : {int64_t{4}, int64_t{i % 2 ? 100000 : 3}}) {  // the second may lie where the first lay
        const Tensor x = full({size}, Scalar(i)).requires_grad();
        sum(w * x).backward();
        CHECK(x.grad().values() == std::vector<Scalar>(size, 1));
      }
    };
    parallel_backward(8, part);
    CHECK(w.grad().item() == 4 * (0 + 1 + 2 + 3 + 4 + 5 + 6 + 7) + 3 * (0 + 2 + 4 + 6) + 100000 * (1 + 3 + 5 + 7));
    w.zero_grad();
    {
      const PartialSums sums = partial_backward(8, 0, 8, part);
      REQUIRE(sums.size() == 1);
      CHECK(sums.at(0).size() == 1);
      CHECK(sums.at(0).contains(w.node().get()));
    }
    CHECK(live_nodes() == nodes);
    CHECK(allocator_stats().blocks_in_use <= blocks);

    std::vector<Tensor> kept(8);
    std::mutex mutex;
    Tensor last;
    parallel_backward(8, [&](int64_t i) {
      kept[i] = full({i + 1}, 2).requires_grad();
      const Tensor x = ones({i + 1}).requires_grad();
      sum(kept[i] * x * w).backward();
      const std::lock_guard lock(mutex);
      last = x;  // that of an earlier part dies, whose gradients may be waiting to be added
    });
    for (int64_t i = 0; i < 8; ++i) CHECK(kept[i].grad().values() == std::vector<Scalar>(i + 1, 1));
    CHECK(last.grad().values() == std::vector<Scalar>(last.numel(), 2));
    CHECK(w.grad().item() == 2 * (1 + 2 + 3 + 4 + 5 + 6 + 7 + 8));
  }
}

TEST_CASE("a backward() within another refuses to go through the same graph, and changes nothing") {
  const Tensor w = ones({3}).requires_grad();
  for (const bool shared : {true, false}) {
    CAPTURE(shared);
    w.zero_grad();
    const Tensor h = w * 2, inner = shared ? h : w * 2;
    const Tensor y =
        record("outer", h.clone().detach(), {h},
               [inner, w](const Gradients& g) {
                 const auto before = w.grad().defined();
                 const std::string error = error_of([&] { sum(inner * inner).backward(); });
                 g.add_output_gradient(0);
                 if (error != "no error") {
                   CHECK(w.grad().defined() == before);
                   CHECK(contains(error, "backward: the graph through mul (3,) is in use by another backward()"));
                 }
               },
               {});
    sum(y).backward();
    // dy/dw = 2, and d(4 w^2)/dw = 8 of the graph that is the closure's own
    CHECK(w.grad().values() == std::vector<Scalar>(3, shared ? 2 : 10));
    CHECK(contains(error_of([&] { sum(h).backward(); }), "was freed by an earlier backward()"));
  }
}

TEST_CASE("a scope that records, within one that does not") {
  const Tensor w = ones({1}).requires_grad();
  const NoGrad outer;
  {
    const EnableGrad inner;
    CHECK(grad_enabled());
    CHECK((w * 2).needs_grad());
  }
  CHECK_FALSE(grad_enabled());
  CHECK_FALSE((w * 2).needs_grad());
}

TEST_CASE("graphviz shows ops, shapes and arrows") {
  Tensor x = ones({2, 3}).requires_grad(), w = ones({3, 1}).requires_grad();
  const std::string dot = graphviz(sum(matmul(x, w)));
  CHECK(dot.starts_with("digraph {\n"));
  CHECK(dot.find("\n}") == dot.size() - 3);  // so sed can cut it out of other text: /^digraph/,/^}/
  CHECK(contains(dot, "matmul\\n(2, 1)"));
  CHECK(contains(dot, "leaf\\n(2, 3)"));
  CHECK(std::count(dot.begin(), dot.end(), '>') == 3);
}

TEST_CASE("an extender's op: record with a closure of one's own") {
  auto cube = [](const Tensor& x) {
    Tensor out(x.shape());
    for (int64_t i = 0; i < x.numel(); ++i) out.data()[i] = x.data()[i] * x.data()[i] * x.data()[i];
    return record("cube", out, {x}, [x = x.storage()](const Gradients& g) {
      g.add(0, [&](int64_t i) { return 3 * x.data()[i] * x.data()[i] * g.out[i]; });
    });
  };
  Tensor x = tensor({2, -1}, {2}).requires_grad();
  sum(cube(x)).backward();
  CHECK(x.grad().values() == std::vector<Scalar>{12, 3});
  // Mistakes that would crash, or change other gradients, in training only.
  auto first = [](const Tensor& a, const Tensor& b) {
    return record("first", a.clone(), {a, b}, [](const Gradients& g) { *g.buffer(0) += *g.out; });
  };
  CHECK(contains(error_of([&] { first(scalar(1), scalar(1).requires_grad()).backward(); }),
                 "first: the gradient of input 0 is asked for, which needs none"));
  CHECK(error_of([&] { record("same", x, {x}, [](const Gradients& g) { g.add_output_gradient(0); }); }) ==
        "same: its result is in a graph already: detach() it first");
  CHECK(x.is_parameter());
}
