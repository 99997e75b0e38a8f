#pragma once
// Three aids for training: a schedule, a moving average of weights, and gradients for less memory.
#include <algorithm>
#include <set>
#include <span>

#include "core/ops.h"
#include "nn/module.h"
#include "optim/schedule.h"

namespace layers {
using namespace difftensor;

/// Rises linearly to `peak` in `warmup` updates, stays, and falls linearly to 0 in the last `decay` of `total`: a run
/// can be prolonged from any point of the middle (Hu et al. 2024, arXiv 2404.06395). With a decay of 0 it never falls.
/// Throws if a number is negative, or if warmup and decay together are longer than total.
inline optim::Schedule warmup_stable_decay(double peak, int64_t warmup, int64_t decay, int64_t total) {
  require(0 <= warmup && 0 <= decay && warmup + decay <= total, "warmup_stable_decay", warmup, " and ", decay, " of ",
          total, " updates");
  return [=](int64_t update) {
    const auto part = [](int64_t a, int64_t b) { return static_cast<double>(a) / static_cast<double>(b); };
    if (update < warmup) return peak * part(update, warmup);
    if (decay > 0 && update > total - decay) return peak * part(std::max<int64_t>(0, total - update), decay);
    return peak;
  };
}

/// Weights that follow a model's, average = decay average + (1 - decay) weights after each update, and are often better
/// than any of them (Polyak, Juditsky 1992). It is kept in double: in float, steps of 1 - decay = 1e-4 are soon too
/// small for the last place, and it stands still. Buffers are copied. Throws unless decay is in [0, 1).
class MovingAverage {
 public:
  MovingAverage(const nn::Module& model, double decay) : decay_(decay), state_(model.state_dict()) {
    require(decay >= 0 && decay < 1, "MovingAverage", "decay ", decay, " is not in [0, 1)");
    for (const auto& [name, now] : model.named_parameters())
      averages_[name].assign(now.data(), now.data() + now.numel());
  }

  /// average = decay average + (1 - decay) now, of each parameter.
  void update(const nn::Module& model) {
    for (const auto& [name, now] : model.named_parameters()) {
      std::vector<double>& average = averages_.at(name);
      Scalar* rounded = state_.at(name).data();
      for (int64_t i = 0; i < now.numel(); ++i) {
        average[i] += (1 - decay_) * (static_cast<double>(now.data()[i]) - average[i]);
        rounded[i] = static_cast<Scalar>(average[i]);
      }
    }
    for (const auto& [name, now] : model.named_buffers()) state_.at(name) = now.clone();
  }
  /// For load_state_dict() of the model to evaluate.
  const std::map<std::string, Tensor>& state() const { return state_; }

 private:
  const double decay_;
  std::map<std::string, Tensor> state_;
  std::map<std::string, std::vector<double>> averages_;
};

namespace checkpoint_parts {
/// The same values as leaves of a graph of their own.
inline std::vector<Tensor> leaves_like(const std::vector<Tensor>& x) {
  std::vector<Tensor> leaves;
  for (const Tensor& t : x) leaves.push_back(t.detach().requires_grad(t.needs_grad()));
  return leaves;
}
/// The result's values. Throws if its graph has an op's node of before `first`.
inline Tensor without_graph(const Tensor& result, int64_t first) {
  std::set<const Node*> seen;
  std::vector<const Node*> waiting{result.node().get()};
  while (!waiting.empty()) {
    const Node* node = waiting.back();
    waiting.pop_back();
    if (!node || node->leaf || !seen.insert(node).second) continue;
    require(node->number >= first, "checkpoint", "f captured the result of ", node->op, " ", node->shape,
            ", which would get no gradient, or a wrong one: pass it as one of the x. Only leaves, such as parameters, "
            "may be captured");
    for (const auto& input : node->inputs) waiting.push_back(input.get());
  }
  return result.detach();
}
}  // namespace checkpoint_parts

/// Gradient checkpointing (Chen et al. 2016, arXiv 1604.06174): y = f(x), but nothing that f computes on its way is
/// kept. backward() computes it again. What f draws from default_random(), as dropout does, is drawn again, too. If
/// that gives another y, in any bit, backward() throws std::invalid_argument: something that f reads has changed, such
/// as a parameter in step(), its mode in eval(), or a generator of its own that moved on. The gradient would be that of
/// another function. (A change that leaves y as it was is not seen.) It throws, too, if an x or y were written.
///
/// Besides the x, only leaves that f captured, such as parameters, can get a gradient. An op's result that needs one,
/// as an encoder's output does, must be among the x: checkpoint() throws std::invalid_argument if f captured it.
inline Tensor checkpoint(const std::function<Tensor(const std::vector<Tensor>&)>& f, const std::vector<Tensor>& x) {
  if (!grad_enabled() || std::none_of(x.begin(), x.end(), [](const Tensor& t) { return t.needs_grad(); })) return f(x);
  const Random before = default_random();
  const std::vector<Tensor> leaves = checkpoint_parts::leaves_like(x);
  const int64_t first = nodes_made();
  // Not in a NoGrad scope, but as in backward(), lest an op take another way there. The graph is dropped at once.
  const Tensor y = checkpoint_parts::without_graph(f(leaves), first);
  const std::vector<std::reference_wrapper<const Tensor>> inputs(x.begin(), x.end());
  Tensor result = record(
      "checkpoint", y, inputs,
      [f, x = leaves, y = y.storage(), before, shape = y.shape()](const Gradients& g) {
        const EnableGrad scope;  // backward() may be called without
        const std::vector<Tensor> own = checkpoint_parts::leaves_like(x);
        struct Draws {  // those of the forward pass; then the thread's own go on
          const Random after;
          ~Draws() { default_random() = after; }
        };
        const Tensor again = [&] {
          const Draws draws{std::exchange(default_random(), before)};
          return f(own);
        }();
        const auto bytes = [](const Storage& s) { return std::as_bytes(std::span(s.data(), s.size())); };
        require(again.shape() == shape && std::ranges::equal(bytes(again.storage()), bytes(y)), "checkpoint",
                "computed again in backward(), f gives another result: something that it reads has changed since the "
                "forward pass, such as a parameter, the mode or a generator; run it again");
        if (!again.needs_grad()) return;                                // it depends on no leaf
        again.backward(tensor({g.out, g.out + shape.numel()}, shape));  // f's parameters get theirs here
        for (size_t i = 0; i < own.size(); ++i)
          if (const Tensor gradient = own[i].grad(); gradient.defined()) {
            own[i].zero_grad();  // or inside parallel_backward() it would be kept until the part ends
            g.add(static_cast<int>(i), gradient.storage());
          }
      },
      {{y}});
  for (const Tensor& t : x) result.node()->remember(t);
  return result;
}
/// The same for an f of one tensor.
inline Tensor checkpoint(const std::function<Tensor(const Tensor&)>& f, const Tensor& x) {
  return checkpoint([f](const std::vector<Tensor>& t) { return f(t[0]); }, std::vector<Tensor>{x});
}

}  // namespace layers
