#pragma once
// Optimizers, from simple to complex: SGD, Adam, AdamW. The formulas are those of torch.optim.
#include <functional>
#include <initializer_list>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace difftensor::inline DT_PRECISION::optim {

/// Parameters that are treated alike.
struct ParameterGroup {
  std::vector<Tensor> parameters = {};
  double weight_decay = 0;
  double lr_scale = 1;  ///< the group's learning rate, relative to the optimizer's
};

/// All that an optimizer trains: one group, as net.parameters() is, or several. (Tensors by hand are a group in braces
/// of its own: SGD({{w, b}}, 0.1).) They are leaves: an optimizer throws if one is the result of an op, where no
/// gradient is kept. One that needs no gradient is frozen.
struct ParameterGroups {
  ParameterGroups(std::vector<Tensor> parameters) : groups{{std::move(parameters)}} {}
  ParameterGroups(std::vector<ParameterGroup> several) : groups(std::move(several)) {}
  ParameterGroups(std::initializer_list<ParameterGroup> several) : groups(several) {}
  std::vector<ParameterGroup> groups;
};

/// What state an optimizer keeps for a parameter, and how it wants to be called.
struct StateRules {
  std::vector<std::string> names = {};
  /// The shape of a state; if unset, the parameter's. All begin as zeros.
  std::function<Shape(const std::string& name, const Shape& parameter)> shape = {};
  bool whole = false;  ///< update() gets whole parameters, one after the other: for those that multiply matrices
};

/// What all optimizers share: the parameters, the state kept for each, and the learning rate. A kind of optimizer says
/// what state a parameter has, and how one parameter is updated.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  // Not copied: two handles to the same state would write into each other.
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// Updates every parameter that has a gradient. One that has none stays as it is, and so does its state. (A frozen one
  /// has no state until it learns.)
  void step();
  /// Forgets all gradients.
  void zero_grad() const;

  double lr() const { return lr_; }
  /// Throws unless lr >= 0; so do the constructors.
  void set_lr(double lr);
  /// Of a group, by its number from 0: takes effect at the next step. Throws if there is no such group, or a number is
  /// negative or NaN, as the constructors do.
  void set_group(size_t group, double weight_decay, double lr_scale);

  /// A copy of the state by name, such as "m.0" for m of the first parameter: with it, the parameters and the learning
  /// rate, training goes on to the same bits.
  std::map<std::string, Tensor> state_dict() const;
  /// Throws std::invalid_argument, having changed nothing, unless names and shapes are this optimizer's. A parameter
  /// that had no state and no step there, as a frozen one, has none here afterwards.
  void load_state_dict(const std::map<std::string, Tensor>& state);

 protected:
  struct Slot {
    Tensor parameter;
    double weight_decay, lr_scale;
    size_t group;
    std::vector<Tensor> state;  // one per state name; none yet if it was frozen
  };
  Optimizer(const ParameterGroups& groups, double lr, const StateRules& rules);
  /// Some elements of a parameter. All threads update, each its own, unless rules.whole.
  struct Range {
    int64_t begin, end;
  };
  /// Updates elements of one parameter for the `step`th time, counted from 1.
  virtual void update(Slot& slot, Range elements, const Scalar* gradient, double lr, double step) const = 0;

 private:
  Shape state_shape(const std::string& name, size_t slot) const;
  void make_state(size_t slot);
  double lr_;
  const StateRules rules_;
  size_t groups_ = 0;
  std::vector<Slot> slots_;
  Tensor steps_;                         // how often each parameter was updated; exact up to 2^24 in float
  std::map<std::string, Tensor> state_;  // steps_ and the slots' state, by name
};

/// momentum >= 0; with nesterov, > 0.
struct SGDOptions {
  double momentum = 0;
  bool nesterov = false;
};

/// Stochastic gradient descent, with momentum (Polyak 1964) or Nesterov's (Sutskever et al. 2013).
class SGD : public Optimizer {
 public:
  SGD(const ParameterGroups& groups, double lr, const SGDOptions& options = {});

 protected:
  void update(Slot& slot, Range elements, const Scalar* gradient, double lr, double step) const override;

 private:
  SGDOptions options_;
};

/// Both betas in [0, 1), eps >= 0.
struct AdamOptions {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
};

/// Adam (Kingma, Ba 2015): each element's step is divided by the recent size of its gradient. Weight decay is added to
/// the gradient. Bias corrections are in double; a step is right to 10 roundings. In float, as in PyTorch, a gradient
/// below 1e-19 counts as 0 in v, and one above 1e20 makes v infinite, which stops its element: clip first.
class Adam : public Optimizer {
 public:
  Adam(const ParameterGroups& groups, double lr, const AdamOptions& options = {}) : Adam(groups, lr, options, false) {}

 protected:
  Adam(const ParameterGroups& groups, double lr, const AdamOptions& options, bool decoupled);
  void update(Slot& slot, Range elements, const Scalar* gradient, double lr, double step) const override;

 private:
  AdamOptions options_;
  bool decoupled_;
};

/// Adam with decoupled weight decay (Loshchilov, Hutter 2019): it shrinks the weights themselves, by the learning rate
/// times weight_decay, however large their gradients are. (The decay is a ParameterGroup's, and 0 unless set; PyTorch's
/// is 0.01.)
class AdamW : public Adam {
 public:
  AdamW(const ParameterGroups& groups, double lr, const AdamOptions& options = {}) : Adam(groups, lr, options, true) {}
};

}  // namespace difftensor::inline DT_PRECISION::optim
