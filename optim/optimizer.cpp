#include "optim/optimizer.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "core/kernels/parallel.h"

namespace difftensor::inline DT_PRECISION::optim {

namespace {
void check_group(double weight_decay, double lr_scale) {
  require(weight_decay >= 0 && lr_scale >= 0, "Optimizer", "weight decay ", weight_decay, " and learning rate scale ",
          lr_scale, " must not be negative");
}
}  // namespace

Optimizer::Optimizer(const ParameterGroups& groups, double lr, const StateRules& rules) : rules_(rules) {
  set_lr(lr);
  std::set<const Scalar*> seen;
  for (auto& group : groups.groups) {
    check_group(group.weight_decay, group.lr_scale);
    for (auto& parameter : group.parameters) {
      require(!parameter.needs_grad() || parameter.is_parameter(), "Optimizer", "a tensor of shape ", parameter.shape(),
              " is the result of an op, where no gradient is kept: only a leaf can be a parameter");
      require(seen.insert(parameter.data()).second, "Optimizer", "a parameter of shape ", parameter.shape(),
              " is there twice and would be updated twice");
      slots_.push_back({parameter, group.weight_decay, group.lr_scale, groups_, {}});
      if (parameter.is_parameter()) make_state(slots_.size() - 1);
    }
    ++groups_;
  }
  state_["steps"] = steps_ = zeros({static_cast<int64_t>(slots_.size())});
}

namespace {
// As in "m.0", for m of the first parameter.
std::string key(const std::string& name, size_t slot) { return name + "." + std::to_string(slot); }
}  // namespace

Shape Optimizer::state_shape(const std::string& name, size_t i) const {
  const Shape& like = slots_[i].parameter.shape();
  return rules_.shape ? rules_.shape(name, like) : like;
}

void Optimizer::make_state(size_t i) {
  for (auto& name : rules_.names) state_[key(name, i)] = slots_[i].state.emplace_back(zeros(state_shape(name, i)));
}

void Optimizer::set_lr(double lr) {
  require(lr >= 0, "Optimizer", "learning rate ", lr, " is negative or not a number");
  lr_ = lr;
}

void Optimizer::set_group(size_t group, double weight_decay, double lr_scale) {
  require(group < groups_, "Optimizer", "there is no group ", group, " among ", groups_);
  check_group(weight_decay, lr_scale);
  for (Slot& slot : slots_)
    if (slot.group == group) slot.weight_decay = weight_decay, slot.lr_scale = lr_scale;
}

void Optimizer::step() {
  std::vector<Tensor> gradients;
  std::vector<int64_t> sizes;  // 0 where there is no gradient: then there is nothing to visit
  for (size_t i = 0; i < slots_.size(); ++i) {
    const Tensor gradient = slots_[i].parameter.grad();
    if (gradient.defined()) {
      if (slots_[i].state.empty()) make_state(i);
      ++steps_.data()[i];
    }
    sizes.push_back(gradient.defined() ? gradient.numel() : 0);
    gradients.push_back(gradient);
  }
  const auto run = [&, steps = std::as_const(steps_).data()](size_t i, int64_t begin, int64_t end) {
    update(slots_[i], {begin, end}, std::as_const(gradients[i]).data(), lr_ * slots_[i].lr_scale, steps[i]);
  };
  if (!rules_.whole) return parallel_for(sizes, run);
  for (size_t i = 0; i < slots_.size(); ++i)
    if (sizes[i]) run(i, 0, sizes[i]);
}

void Optimizer::zero_grad() const {
  for (auto& slot : slots_) slot.parameter.zero_grad();
}

std::map<std::string, Tensor> Optimizer::state_dict() const {
  std::map<std::string, Tensor> copy;
  for (auto& [name, tensor] : state_) copy.emplace(name, tensor.clone());
  return copy;
}

void Optimizer::load_state_dict(const std::map<std::string, Tensor>& state) {
  std::map<std::string, Tensor> loaded;
  const auto load = [&](const std::string& name, const Shape& shape) {
    const auto found = state.find(name);
    require(found != state.end(), "load_state_dict", "the state has no ", name);
    require(found->second.shape() == shape, "load_state_dict", name, " has shape ", found->second.shape(), ", not ",
            shape);
    return loaded[name] = found->second.clone();
  };
  const Tensor steps = load("steps", steps_.shape());
  std::vector<std::vector<Tensor>> states(slots_.size());
  for (size_t i = 0; i < slots_.size(); ++i) {
    const auto has = [&](const std::string& name) { return state.contains(key(name, i)); };
    if (steps.data()[i] == 0 && std::none_of(rules_.names.begin(), rules_.names.end(), has)) continue;
    for (auto& name : rules_.names) states[i].push_back(load(key(name, i), state_shape(name, i)));
  }
  for (auto& [name, tensor] : state) require(loaded.contains(name), "load_state_dict", "there is no place for ", name);
  for (size_t i = 0; i < slots_.size(); ++i) slots_[i].state = std::move(states[i]);
  steps_ = steps;
  state_ = std::move(loaded);
}

SGD::SGD(const ParameterGroups& groups, double lr, const SGDOptions& options)
    : Optimizer(groups, lr,
                {options.momentum == 0 ? std::vector<std::string>{} : std::vector<std::string>{"momentum"}}),
      options_(options) {
  require(options.momentum >= 0, "SGD", "momentum ", options.momentum, " is negative or not a number");
  require(!options.nesterov || options.momentum > 0, "SGD", "Nesterov's method needs a momentum");
}

// g' = g + decay w
// m = momentum m + g'
// w -= lr m,  or Nesterov's, which looks one step ahead:  w -= lr (g' + momentum m)
void SGD::update(Slot& slot, Range elements, const Scalar* g, double learning_rate, double) const {
  const auto lr = static_cast<Scalar>(learning_rate), decay = static_cast<Scalar>(slot.weight_decay);
  const auto momentum = static_cast<Scalar>(options_.momentum);
  const bool nesterov = options_.nesterov;
  Scalar* w = slot.parameter.data();
  Scalar* m = slot.state.empty() ? nullptr : slot.state[0].data();
#pragma omp simd
  for (int64_t i = elements.begin; i < elements.end; ++i) {
    const Scalar gradient = g[i] + decay * w[i];
    Scalar step = gradient;
    if (m) {
      m[i] = momentum * m[i] + gradient;
      step = nesterov ? gradient + momentum * m[i] : m[i];
    }
    w[i] -= lr * step;
  }
}

Adam::Adam(const ParameterGroups& groups, double lr, const AdamOptions& options, bool decoupled)
    : Optimizer(groups, lr, {{"m", "v"}}), options_(options), decoupled_(decoupled) {
  for (double beta : {options.beta1, options.beta2})
    require(beta >= 0 && beta < 1, "Adam", "beta ", beta, " is not in [0, 1)");
  require(options.eps >= 0, "Adam", "eps ", options.eps, " is negative or not a number");
}

// Adam:   g += decay w
// AdamW:  w -= lr decay w
// m = beta1 m + (1 - beta1) g        the mean of recent gradients
// v = beta2 v + (1 - beta2) g^2      and of their squares
// w -= lr m' / (sqrt(v') + eps),  where m' = m / (1 - beta1^t) and v' = v / (1 - beta2^t) make up for the start at zero
void Adam::update(Slot& slot, Range elements, const Scalar* g, double lr, double t) const {
  // In double first: 1 - 0.999f has only four right digits.
  const auto beta1 = static_cast<Scalar>(options_.beta1), fresh1 = static_cast<Scalar>(1 - options_.beta1);
  const auto beta2 = static_cast<Scalar>(options_.beta2), fresh2 = static_cast<Scalar>(1 - options_.beta2);
  const auto eps = static_cast<Scalar>(options_.eps);
  const auto rate = static_cast<Scalar>(lr / (1 - std::pow(options_.beta1, t)));
  const auto correct_v = static_cast<Scalar>(1 / std::sqrt(1 - std::pow(options_.beta2, t)));
  const auto decay = static_cast<Scalar>(decoupled_ ? 0 : slot.weight_decay);
  const auto keep = static_cast<Scalar>(decoupled_ ? 1 - lr * slot.weight_decay : 1);
  Scalar *w = slot.parameter.data(), *m = slot.state[0].data(), *v = slot.state[1].data();
#pragma omp simd
  for (int64_t i = elements.begin; i < elements.end; ++i) {
    const Scalar gradient = g[i] + decay * w[i];
    m[i] = beta1 * m[i] + fresh1 * gradient;
    v[i] = beta2 * v[i] + fresh2 * gradient * gradient;
    w[i] = keep * w[i] - rate * m[i] / (std::sqrt(v[i]) * correct_v + eps);
  }
}

}  // namespace difftensor::inline DT_PRECISION::optim
