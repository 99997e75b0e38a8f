// Optimizers, schedules and clipping, against PyTorch's numbers (tests/golden/optim.py) and by themselves.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <memory>
#include <type_traits>

#include "core/ops.h"
#include "core/safetensors.h"
#include "optim/average.h"
#include "optim/clip.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"
#include "tests/testing.h"

using namespace difftensor;
using namespace difftensor::optim;

namespace {
constexpr double tolerance = sizeof(Scalar) == 8 ? 1e-12 : 1e-5;

SafeTensors golden(const std::string& name) { return load_safetensors("tests/golden/optim/" + name + ".safetensors"); }

// x[i] along the first axis, as a tensor of its own.
Tensor row(const Tensor& x, int64_t i) {
  return reshape(slice(x, 0, i, i + 1), std::vector<int64_t>(x.shape().begin() + 1, x.shape().end())).clone();
}

// Gives `parameter` this gradient.
void set_grad(const Tensor& parameter, const Tensor& gradient) {
  parameter.zero_grad();
  parameter.backward(gradient);
}

Tensor random_parameter(const Shape& shape, uint64_t seed) {
  Random random(seed);
  return randn(shape, random).requires_grad();
}
Tensor random_gradient(const Shape& shape, int step) {
  Random random(100, step);
  return randn(shape, random);
}

void check_close(const Tensor& ours, const Tensor& expected, double limit = tolerance) {
  REQUIRE(ours.shape() == expected.shape());
  for (int64_t i = 0; i < ours.numel(); ++i)
    CHECK(std::abs(ours.data()[i] - expected.data()[i]) <= limit * std::max<Scalar>(1, std::abs(expected.data()[i])));
}
}  // namespace

static_assert(!std::is_copy_constructible_v<AdamW> && !std::is_copy_assignable_v<AdamW>);

TEST_CASE("what is frozen has no state until it learns, also when the state is loaded") {
  Tensor a = ones({3}).requires_grad(), b = ones({2});
  const std::vector<Tensor> both{a, b};
  AdamW optimizer(both, 0.1), copy(both, 0.1);
  CHECK(optimizer.state_dict().size() == 3);  // m, v and the steps of a
  b.requires_grad();
  sum(b * b).backward();
  optimizer.step();
  CHECK(optimizer.state_dict().size() == 5);
  CHECK(b.values()[0] == doctest::Approx(0.9));
  copy.load_state_dict(optimizer.state_dict());
  CHECK(copy.state_dict().at("v.1").values() == optimizer.state_dict().at("v.1").values());
}

TEST_CASE(
    "a state from when a parameter was frozen can be loaded after it has learned; a refused one changes nothing") {
  Tensor a = ones({2}).requires_grad(), b = ones({2});
  AdamW optimizer(std::vector<Tensor>{a, b}, 0.1);
  const auto early = optimizer.state_dict();
  auto bad = early;
  bad.emplace("m.1", zeros({2})), bad.emplace("v.1", zeros({3}));
  CHECK(contains(error_of([&] { optimizer.load_state_dict(bad); }), "v.1 has shape (3,), not (2,)"));
  bad.erase("v.1");
  CHECK(contains(error_of([&] { optimizer.load_state_dict(bad); }), "the state has no v.1"));
  CHECK(optimizer.state_dict().size() == early.size());
  optimizer.load_state_dict(early);

  b.requires_grad();
  const auto step = [&] {
    a.zero_grad(), b.zero_grad();
    sum(a * b * b).backward();
    optimizer.step();
    return std::vector{a.values(), b.values()};
  };
  const auto first = step();
  step();
  CHECK(optimizer.state_dict().size() == 5);
  auto without = optimizer.state_dict();  // has steps of b, so it must have more
  without.erase("m.1"), without.erase("v.1");
  CHECK(contains(error_of([&] { optimizer.load_state_dict(without); }), "the state has no m.1"));
  optimizer.load_state_dict(early);
  CHECK(optimizer.state_dict().size() == 3);
  std::fill_n(a.data(), 2, Scalar(1)), std::fill_n(b.data(), 2, Scalar(1));
  CHECK(step() == first);  // b begins afresh
}

TEST_CASE("a group's decay and rate can change") {
  Tensor a = ones({2}).requires_grad(), b = ones({2}).requires_grad(), c = ones({2}).requires_grad();
  SGD optimizer(std::vector<ParameterGroup>{{{a}}, {{b}}}, 0.1),
      from_the_start(std::vector<ParameterGroup>{{{c}, 0.5, 2}}, 0.1);
  optimizer.set_group(1, 0.5, 2);
  for (const Tensor& p : {a, b, c}) set_grad(p, tensor({1, -1}, {2}));
  optimizer.step(), from_the_start.step();
  CHECK(b.values() == c.values());
  CHECK(a.values()[0] == doctest::Approx(0.9));
  CHECK_THROWS_WITH(optimizer.set_group(2, 0, 1), "Optimizer: there is no group 2 among 2");
  CHECK_THROWS_WITH(optimizer.set_group(0, -1, 1),
                    "Optimizer: weight decay -1 and learning rate scale 1 must not be negative");
}

TEST_CASE("state may have a shape of its own, and an update may be of whole parameters") {
  // A step for each row, as long as the row's largest gradient has been so far.
  struct ByRow : Optimizer {
    explicit ByRow(const std::vector<Tensor>& parameters)
        : Optimizer(parameters, 1,
                    {.names = {"largest"},
                     .shape = [](const std::string&, const Shape& p) { return Shape{p[0]}; },
                     .whole = true}) {}
    void update(Slot& slot, Range elements, const Scalar* g, double, double) const override {
      const int64_t width = slot.parameter.dim(1);
      CHECK(elements.end - elements.begin == slot.parameter.numel());
      for (int64_t i = 0; i < elements.end; ++i) {
        Scalar& largest = slot.state[0].data()[i / width];
        largest = std::max(largest, std::abs(g[i]));
      }
      for (int64_t i = 0; i < elements.end; ++i) slot.parameter.data()[i] -= slot.state[0].values()[i / width];
    }
  };
  Tensor w = zeros({200, 100}).requires_grad(), v = zeros({2, 1}).requires_grad();
  ByRow optimizer({w, v}), copy({w, v});
  set_grad(w, ones({200, 100})), set_grad(v, tensor({3, -4}, {2, 1}));
  optimizer.step();
  CHECK(w.values() == std::vector<Scalar>(20000, -1));
  CHECK(v.values() == std::vector<Scalar>{-3, -4});
  CHECK(optimizer.state_dict().at("largest.0").shape() == Shape{200});
  copy.load_state_dict(optimizer.state_dict());
  set_grad(v, tensor({1, 1}, {2, 1})), w.zero_grad();
  copy.step();
  CHECK(v.values() == std::vector<Scalar>{-6, -8});
}

TEST_CASE("ten updates as PyTorch makes them") {
  struct Case {
    const char* name;
    std::function<std::unique_ptr<Optimizer>(const Tensor& a, const Tensor& b)> make;
    double max_norm = INFINITY;
  };
  // These settings are those of tests/golden/optim.py.
  using Groups = std::vector<ParameterGroup>;
  const auto two = [](auto& a, auto& b) { return Groups{{{a}, 0.1, 1}, {{b}, 0, 0.5}}; };
  for (const Case& c : std::vector<Case>{
           {"sgd",
            [](auto&a, auto&b) {
              return std::make_unique<SGD>(Groups{{{a, b}}}, 0.1);
            }},
           {"sgd-decay",
            [](auto&a, auto&b) {
              return std::make_unique<SGD>(Groups{{{a, b}, 0.1}}, 0.1);
            }},
           {"sgd-momentum",
            [](auto&a, auto&b) {
              return std::make_unique<SGD>(Groups{{{a, b}, 0.1}}, 0.1, SGDOptions{.momentum = 0.9});
            }},
           {"sgd-nesterov",
            [](auto&a, auto&b) {
              return std::make_unique<SGD>(Groups{{{a, b}, 0.1}}, 0.1, SGDOptions{.momentum = 0.9, .nesterov = true});
            }},
           {"adam",
            [](auto&a, auto&b) {
              return std::make_unique<Adam>(Groups{{{a, b}, 0.1}}, 0.01);
            }},
           {"adamw",
            [=](auto&a, auto&b) {
              return std::make_unique<AdamW>(two(a, b), 0.01, AdamOptions{.beta2 = 0.98, .eps = 1e-6});
            }},
           {"adamw-clipped", [=](auto&a, auto&b) { return std::make_unique<AdamW>(two(a, b), 0.01); }, 3.0}}) {
    const SafeTensors file = golden(c.name);
    const Tensor a_values = file.tensors.at("a.values"), b_values = file.tensors.at("b.values");
    const Tensor a = row(a_values, 0).requires_grad(), b = row(b_values, 0).requires_grad();
    const auto optimizer = c.make(a, b);
    for (int step = 0; step < 10; ++step) {
      CAPTURE(c.name);
      CAPTURE(step);
      set_grad(a, row(file.tensors.at("a.grads"), step));
      set_grad(b, row(file.tensors.at("b.grads"), step));
      clip_grad_norm({a, b}, c.max_norm);
      optimizer->step();
      check_close(a, row(a_values, step + 1));
      check_close(b, row(b_values, step + 1));
    }
  }
}

TEST_CASE("schedules") {
  const SafeTensors file = golden("schedules");
  const Tensor inverse = file.tensors.at("inverse_sqrt"), wave = file.tensors.at("cosine");
  for (int update = 1; update <= 40; ++update) {
    CAPTURE(update);
    CHECK(inverse_sqrt(0.003, 10)(update) == doctest::Approx(inverse.data()[update - 1]).epsilon(tolerance));
    CHECK(cosine(0.003, 0, 40, 0.1)(update) == doctest::Approx(wave.data()[update]).epsilon(tolerance));
    // Warmup only puts a ramp in front.
    CHECK(cosine(0.003, 5, 45, 0.1)(5 + update) == doctest::Approx(wave.data()[update]).epsilon(tolerance));
  }
  CHECK(constant(2)(1) == 2);
  CHECK(cosine(2, 4, 8)(1) == 0.5);
  CHECK(cosine(2, 4, 8)(4) == 2);
  CHECK(cosine(2, 4, 8)(8) == 0);
  CHECK(cosine(2, 4, 8)(100) == 0);
  CHECK(inverse_sqrt(2, 4)(4) == 2);
  CHECK_THROWS_AS(inverse_sqrt(1, 0), std::invalid_argument);
  CHECK_THROWS_AS(cosine(1, 8, 8), std::invalid_argument);
}

TEST_CASE("clip_grad_norm of gradients that two processes have") {
  Random random(4);
  const Tensor whole = randn({3 * norm_piece}, random).requires_grad();
  const auto part = [&](int64_t begin, int64_t end) {
    const Tensor p = zeros({end - begin}).requires_grad();
    set_grad(p, tensor({whole.data() + begin, whole.data() + end}, {end - begin}));
    return p;
  };
  const Tensor first = part(0, 2 * norm_piece), second = part(2 * norm_piece, 3 * norm_piece);
  set_grad(whole, whole.detach());
  const double norm = clip_grad_norm({whole}, 1);
  std::vector<double> sums_of_first;
  clip_grad_norm({first}, 1e9, [&](const std::vector<double>& sums) { return sums_of_first = sums; });
  CHECK(sums_of_first.size() == 2);
  CHECK(clip_grad_norm({second}, 1, [&](std::vector<double> sums) {
          sums.insert(sums.begin(), sums_of_first.begin(), sums_of_first.end());
          return sums;
        }) == norm);
  for (int64_t i = 0; i < norm_piece; i += 97)
    CHECK(second.grad().data()[i] == whole.grad().data()[2 * norm_piece + i]);
}

TEST_CASE("clip_grad_norm") {
  const Tensor a = zeros({2}).requires_grad(), b = zeros({1}).requires_grad(), none = zeros({3}).requires_grad();
  set_grad(a, tensor({1, 2}, {2}));
  set_grad(b, tensor({2}, {1}));
  SUBCASE("returns the norm and shortens to max_norm") {
    CHECK(clip_grad_norm({a, none, b}, 1.5) == 3);
    check_close(a.grad(), tensor({Scalar(0.5), 1}, {2}), 1e-6);
    CHECK(clip_grad_norm({a, b}, 10) == doctest::Approx(1.5).epsilon(1e-6));
    CHECK_FALSE(none.grad().defined());
  }
  SUBCASE("leaves shorter ones to the bit") {
    CHECK(clip_grad_norm({a, b}, 4) == 3);
    CHECK(a.grad().values() == std::vector<Scalar>{1, 2});
  }
  SUBCASE("reports what is not finite") {
    set_grad(b, tensor({NAN}, {1}));
    CHECK(std::isnan(clip_grad_norm({a, b}, 1)));
    CHECK_THROWS_WITH(clip_grad_norm({a, b}, -1), "clip_grad_norm: a longest length of -1");
    CHECK((std::isnan(a.grad().data()[0]) && std::isnan(a.grad().data()[1])));
    set_grad(a, tensor({1, 2}, {2}));
    set_grad(b, tensor({INFINITY}, {1}));
    CHECK(std::isinf(clip_grad_norm({a, b}, 1)));
  }
  SUBCASE("scales two gradients once each, though they share a buffer") {
    const Tensor c = zeros({2}).requires_grad(), d = zeros({2}).requires_grad();
    (c + d).backward(tensor({3, 4}, {2}));
    CHECK(clip_grad_norm({c, d}, std::sqrt(50) / 2) == doctest::Approx(std::sqrt(50)));
    check_close(c.grad(), tensor({Scalar(1.5), 2}, {2}), 1e-6);
    check_close(d.grad(), tensor({Scalar(1.5), 2}, {2}), 1e-6);
  }
  SUBCASE("sums in double") {
    const int64_t n = 1 << 22;
    const Tensor many = zeros({n}).requires_grad();
    set_grad(many, full({n}, Scalar(0.1)));
    CHECK(clip_grad_norm({many}, 1) == doctest::Approx(2048 * static_cast<double>(Scalar(0.1))).epsilon(1e-12));
  }
}

TEST_CASE("updates have the same bits with any number of threads") {
  const Shape shape{50001};
  const auto run = [&](int n) {
    const Threads threads(n);
    const Tensor w = random_parameter(shape, 1);
    AdamW optimizer({{{w}, 0.1}}, 0.1);
    std::vector<double> norms;
    for (int step = 0; step < 3; ++step) {
      set_grad(w, random_gradient(shape, step));
      norms.push_back(clip_grad_norm({w}, 1));
      optimizer.step();
    }
    return std::pair(norms, w.values());
  };
  const auto one = run(1);
  CHECK(run(2) == one);
  CHECK(run(5) == one);
}

TEST_CASE("saved and restored, an optimizer continues to the same bits") {
  const Shape shape{3, 5};
  const auto train = [&](Optimizer& optimizer, const Tensor& w, int from, int to) {
    for (int step = from; step < to; ++step) {
      set_grad(w, random_gradient(shape, step));
      optimizer.step();
    }
  };
  const auto check = [&](auto make) {
    const Tensor straight = random_parameter(shape, 1), before = random_parameter(shape, 1);
    auto a = make(straight), b = make(before);
    train(a, straight, 0, 10);
    train(b, before, 0, 4);
    const auto state = b.state_dict();
    Tensor after = before.clone().requires_grad();
    train(b, before, 4, 7);  // does not change the copy
    auto c = make(after);
    c.load_state_dict(state);
    train(c, after, 4, 10);
    CHECK(after.values() == straight.values());
  };
  check([](const Tensor& w) { return SGD({{{w}, 0.1}}, 0.1, {.momentum = 0.9, .nesterov = true}); });
  check([](const Tensor& w) { return AdamW({{{w}, 0.1}}, 0.1); });
}

TEST_CASE("a state that does not fit is refused and changes nothing") {
  const Tensor w = random_parameter({2}, 1);
  AdamW optimizer({{{w}}}, 0.1);
  set_grad(w, ones({2}));
  optimizer.step();
  const auto good = optimizer.state_dict();
  const auto refuses = [&](const std::map<std::string, Tensor>& state, const std::string& message) {
    CHECK_THROWS_WITH_AS(optimizer.load_state_dict(state), ("load_state_dict: " + message).c_str(),
                         std::invalid_argument);
    for (auto& [name, tensor] : optimizer.state_dict()) CHECK(tensor.values() == good.at(name).values());
  };
  auto bad = good;
  bad.erase("v.0");
  refuses(bad, "the state has no v.0");
  bad = good;
  bad["m.1"] = zeros({2});
  refuses(bad, "there is no place for m.1");
  bad = good;
  bad["v.0"] = zeros({3});
  bad["m.0"] = zeros({2});
  refuses(bad, "v.0 has shape (3,), not (2,)");
}

TEST_CASE("a parameter without a gradient is not updated, and its state waits") {
  // b has a gradient in every second update only; c lives alone and sees the same gradients.
  const Tensor a = random_parameter({3}, 1), b = random_parameter({2}, 2), c = random_parameter({2}, 2);
  AdamW both({{{a, b}, 0.1}}, 0.1), alone({{{c}, 0.1}}, 0.1);
  for (int step = 0; step < 8; ++step) {
    set_grad(a, random_gradient({3}, step));
    b.zero_grad();
    if (step % 2) {
      set_grad(b, random_gradient({2}, step));
      set_grad(c, random_gradient({2}, step));
      alone.step();
    }
    both.step();
    CHECK(b.values() == c.values());
  }
  both.zero_grad();
  const auto before = a.values();
  both.step();
  CHECK(a.values() == before);
}

TEST_CASE("settings that make no sense are refused") {
  const Tensor w = random_parameter({2}, 1);
  CHECK_THROWS_AS(SGD({{{w}}}, 0.1, {.nesterov = true}), std::invalid_argument);
  CHECK_THROWS_AS(AdamW({{{w}}, {{w}}}, 0.1), std::invalid_argument);
  const auto refuses = [](auto make, const char* message) {
    CHECK_THROWS_WITH_AS(make(), message, std::invalid_argument);
  };
  refuses([&] { SGD({{{w}}}, -1); }, "Optimizer: learning rate -1 is negative or not a number");
  refuses([&] { SGD({{{w}}}, 1).set_lr(NAN); }, "Optimizer: learning rate nan is negative or not a number");
  refuses([&] { SGD({{{w}}}, 1, {.momentum = -1}); }, "SGD: momentum -1 is negative or not a number");
  refuses([&] { SGD({{{w}, -1}}, 1); }, "Optimizer: weight decay -1 and learning rate scale 1 must not be negative");
  refuses([&] { SGD({{{w}, 0, -1}}, 1); }, "Optimizer: weight decay 0 and learning rate scale -1 must not be negative");
  refuses([&] { Adam({{{w}}}, 1, {.beta1 = 1}); }, "Adam: beta 1 is not in [0, 1)");
  refuses([&] { AdamW({{{w}}}, 1, {.beta2 = -0.5}); }, "Adam: beta -0.5 is not in [0, 1)");
  refuses([&] { AdamW({{{w}}}, 1, {.eps = -1}); }, "Adam: eps -1 is negative or not a number");
  CHECK_NOTHROW(AdamW({{{w}}}, 0, {.beta1 = 0}));
  refuses(
      [&] {
        SGD({{{w, w * 2}}}, 1);
      },
      "Optimizer: a tensor of shape (2,) is the result of an op, where no gradient is kept: only a leaf can be a "
      "parameter");
  CHECK_NOTHROW(SGD({{{w, (w * 2).detach()}}}, 1));  // frozen
}

TEST_CASE("set_lr takes effect, in proportion in each group") {
  const Tensor a = zeros({1}).requires_grad(), b = zeros({1}).requires_grad();
  SGD optimizer({{{a}}, {{b}, 0, 0.5}}, 1);
  set_grad(a, ones({1}));
  set_grad(b, ones({1}));
  optimizer.set_lr(0.25);
  optimizer.step();
  CHECK(optimizer.lr() == 0.25);
  CHECK(a.item() == Scalar(-0.25));
  CHECK(b.item() == Scalar(-0.125));
}

TEST_CASE("parameters are averaged") {
  ParameterAverage average;
  CHECK_THROWS_AS(average.mean(), std::invalid_argument);
  average.add({{"a", tensor({1, 2}, {2})}, {"b", tensor({-1}, {1})}});
  CHECK(average.mean().at("a").values() == std::vector<Scalar>{1, 2});
  average.add({{"a", tensor({2, 4}, {2})}, {"b", tensor({4}, {1})}});
  average.add({{"a", tensor({6, 0}, {2})}, {"b", tensor({0}, {1})}});
  CHECK(average.mean().at("a").values() == std::vector<Scalar>{3, 2});
  CHECK(average.mean().at("b").values() == std::vector<Scalar>{1});
  CHECK_THROWS_AS(average.add({{"a", zeros({2})}}), std::invalid_argument);
  CHECK_THROWS_AS(average.add({{"a", zeros({3})}, {"b", zeros({1})}}), std::invalid_argument);
  CHECK_THROWS_AS(average.add({{"a", zeros({2})}, {"c", zeros({1})}}), std::invalid_argument);
  CHECK(average.mean().at("a").values() == std::vector<Scalar>{3, 2});

  // In double: in float, the small ones would be lost beside the large one.
  ParameterAverage many;
  many.add({{"w", full({1}, Scalar(1 << 24))}});
  for (int i = 0; i < 7; ++i) many.add({{"w", ones({1})}});
  CHECK(many.mean().at("w").item() == Scalar(((1 << 24) + 7) / 8.0));
}
