#pragma once
// Three aids for training: a schedule, a moving average of weights, and gradients for less memory.
#include "core/ops.h"
#include "nn/module.h"
#include "optim/schedule.h"

namespace layers {
using namespace difftensor;

/// Rises linearly to `peak` in `warmup` updates, stays, and falls linearly to 0 in the last `decay` of `total`: a run
/// can be prolonged from any point of the middle (Hu et al. 2024, arXiv 2404.06395).
inline optim::Schedule warmup_stable_decay(double peak, int64_t warmup, int64_t decay, int64_t total) {
  require(0 <= warmup && 0 <= decay && warmup + decay <= total, "warmup_stable_decay", warmup, " and ", decay, " of ",
          total, " updates");
  return [=](int64_t update) {
    const auto part = [](int64_t a, int64_t b) { return static_cast<double>(a) / static_cast<double>(b); };
    if (update < warmup) return peak * part(update, warmup);
    if (update > total - decay) return peak * part(std::max<int64_t>(0, total - update), decay);
    return peak;
  };
}

/// Weights that follow a model's, average = decay average + (1 - decay) weights after each update, and are often better
/// than any of them (Polyak, Juditsky 1992). Buffers are copied.
class MovingAverage {
 public:
  MovingAverage(const nn::Module& model, double decay) : decay_(decay), average_(model.state_dict()) {}

  void update(const nn::Module& model) {
    for (const auto& [name, now] : model.named_parameters()) {
      Scalar* a = average_.at(name).data();
      for (int64_t i = 0; i < now.numel(); ++i) a[i] += static_cast<Scalar>(1 - decay_) * (now.data()[i] - a[i]);
    }
    for (const auto& [name, now] : model.named_buffers()) average_.at(name) = now.clone();
  }
  /// For load_state_dict() of the model to evaluate.
  const std::map<std::string, Tensor>& state() const { return average_; }

 private:
  const double decay_;
  std::map<std::string, Tensor> average_;
};

/// Gradient checkpointing (Chen et al. 2016, arXiv 1604.06174): y = f(x), but nothing that f computes on its way is
/// kept. backward() computes it again. What f draws from default_random(), as dropout does, is drawn again, too.
inline Tensor checkpoint(const std::function<Tensor(const Tensor&)>& f, const Tensor& x) {
  if (!grad_enabled() || !x.needs_grad()) return f(x);
  const Random before = default_random();
  Tensor y;
  {
    const NoGrad nothing_is_kept;
    y = f(x.detach());
  }
  return record("checkpoint", y.detach(), {x},
                [f, x = x.detach(), before, shape = y.shape()](const Gradients& g) {
                  Tensor leaf = x.detach().requires_grad();
                  const Random after = std::exchange(default_random(), before);
                  const Tensor again = f(leaf);
                  default_random() = after;
                  again.backward(tensor({g.out, g.out + shape.numel()}, shape));  // f's parameters get theirs here
                  if (leaf.grad().defined()) g.add(0, leaf.grad().storage());
                },
                {{x}});
}

}  // namespace layers
