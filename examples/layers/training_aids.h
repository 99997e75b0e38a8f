#pragma once
// Three aids for training: a schedule, a moving average of weights, and gradients for less memory.
#include <algorithm>
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

/// Gradient checkpointing (Chen et al. 2016, arXiv 1604.06174): y = f(x), but nothing that f computes on its way is
/// kept. backward() computes it again. What f draws from default_random(), as dropout does, is drawn again, too. If
/// that gives another y, in any bit, backward() throws std::invalid_argument: something that f reads has changed, such
/// as a parameter in step(), its mode in eval(), or a generator of its own that moved on. The gradient would be that of
/// another function. (A change that leaves y as it was is not seen.) It throws, too, if x or y were written.
inline Tensor checkpoint(const std::function<Tensor(const Tensor&)>& f, const Tensor& x) {
  if (!grad_enabled() || !x.needs_grad()) return f(x);
  const Random before = default_random();
  // Not in a NoGrad scope, but as in backward(), lest an op take another way there. The graph is dropped at once.
  const Tensor y = f(x.detach().requires_grad()).detach();
  return record("checkpoint", y, {x},
                [f, x = x.detach(), y = y.storage(), before, shape = y.shape()](const Gradients& g) {
                  Tensor leaf = x.detach().requires_grad();
                  const Random after = std::exchange(default_random(), before);
                  const Tensor again = f(leaf);
                  default_random() = after;
                  const auto bytes = [](const Storage& s) { return std::as_bytes(std::span(s.data(), s.size())); };
                  require(again.shape() == shape && std::ranges::equal(bytes(again.storage()), bytes(y)), "checkpoint",
                          "computed again in backward(), f gives another result: something that it reads has changed "
                          "since the forward pass, such as a parameter, the mode or a generator; run it again");
                  again.backward(tensor({g.out, g.out + shape.numel()}, shape));  // f's parameters get theirs here
                  if (leaf.grad().defined()) g.add(0, leaf.grad().storage());
                },
                {{x}, {y}});
}

}  // namespace layers
