#pragma once
// Module: what every layer and model is. It knows its parameters by name, its mode, and how to be saved.
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/gradcheck.h"
#include "core/ops.h"

namespace difftensor::inline DT_PRECISION::nn {

/// Tensors by path, such as "encoder.layers.0.self_attn.q_proj.weight". A module's own come first, then those of its
/// parts, each in the order in which they were added.
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

/// The base of all layers, as torch.nn.Module is. What a layer consists of is made by the calls that register it, in its
/// constructor: add_parameter, add_buffer and add_module. It keeps what they return in const members or references, so
/// that what computes is what is trained and saved: another tensor or module cannot be put in its place.
///
///   struct Net : nn::Module {
///     explicit Net(Random& random)
///         : scale(add_parameter("scale", ones({8}))), out(add_module<nn::Linear>("out", 8, 2, true, random)) {}
///     Tensor operator()(const Tensor& x) const { return out(x * scale); }
///     const Tensor scale;
///     nn::Linear& out;
///   };
///
/// A module owns its parts, so it is neither copied nor moved: to copy one, make another and load_state_dict() it.
class Module {
 public:
  Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  virtual ~Module() = default;

  /// Every parameter of this module and its parts, with its path. One that has several (tied weights) counts once, under
  /// the first.
  NamedTensors named_parameters() const;
  /// The same without the paths: what an optimizer takes.
  std::vector<Tensor> parameters() const;
  /// The number of elements in all of them.
  int64_t parameter_count() const;
  /// Forgets all their gradients.
  void zero_grad() const;
  /// Freezes them all, or with true lets them learn again, with the gradients that they had. A graph that was made
  /// before is not changed: see Tensor::requires_grad().
  void requires_grad(bool on);
  /// Every buffer, likewise.
  NamedTensors named_buffers() const;
  /// This module, under the path "", and every part of it and of its parts.
  std::vector<std::pair<std::string, Module*>> named_modules();

  /// Training mode (dropout on) or, with false, evaluation mode, here and in all parts.
  void train(bool on = true);
  void eval() { train(false); }
  /// Is this module in training mode? True at first.
  bool training() const { return training_; }

  /// A copy of the values of every parameter and buffer, by path.
  std::map<std::string, Tensor> state_dict() const;
  /// Takes over the values. Throws std::invalid_argument, having changed nothing, unless names and shapes are exactly
  /// this module's; the message names what is missing, unexpected or misshapen. If not `strict`, what is missing stays as
  /// it is and what is unexpected is left aside; a shape must fit all the same.
  void load_state_dict(const std::map<std::string, Tensor>& state, bool strict = true);

  /// Throws std::logic_error unless every parameter that `loss` depends on is one of this module. A layer that was made
  /// without add_module computes, but would be neither trained nor saved: a training checks its first loss by this.
  void check_registered(const Tensor& loss) const;

 protected:
  /// Makes `values` a trainable parameter of this module, and returns the handle to keep in a const member. To tie two
  /// weights, register the handle of the one as a parameter of the other module too; if it is frozen, it stays so.
  /// Throws if the name is taken.
  Tensor add_parameter(const std::string& name, Tensor values);
  /// Makes `values` a buffer: saved and loaded, but not trained, such as the running mean of a batch norm. Throws if the
  /// name is taken.
  Tensor add_buffer(const std::string& name, Tensor values);
  /// Makes a part of this module, M(arguments...), and returns a reference to keep. Its parameters count as this one's, as
  /// "name.parameter", and it follows this one's mode. Throws if the name is taken.
  template <class M, class... Arguments>
  M& add_module(const std::string& name, Arguments&&... arguments) {
    return add_module(name, std::make_unique<M>(std::forward<Arguments>(arguments)...));
  }
  /// The same for a part that was made elsewhere, as where its type depends on a setting.
  template <class M>
  M& add_module(const std::string& name, std::unique_ptr<M> part) {
    require(part != nullptr, "Module", "there is nothing to register as ", name);
    return static_cast<M&>(adopt(name, std::move(part)));
  }

 private:
  NamedTensors saved() const;  // parameters, then buffers
  Module& adopt(const std::string& name, std::unique_ptr<Module> part);  // returns it
  void require_new(const std::string& name) const;
  // Adds those of this module and its parts, each tensor once; `which` is a list that every module has.
  void collect(NamedTensors Module::*which, const std::string& prefix, std::set<const Scalar*>& seen,
               NamedTensors& into) const;
  NamedTensors parameters_, buffers_;
  std::vector<std::pair<std::string, std::unique_ptr<Module>>> parts_;
  bool training_ = true;
};

/// difftensor::gradcheck of f, which uses the module: of the inputs, and of each of the module's parameters that is not
/// frozen. Throws if f uses a parameter that is none of the module's: it would go unchecked.
///
///   GradcheckResult result = gradcheck(layer, [&](auto& x) { return layer(x[0]); }, {randn({3, 8}, random)});
inline GradcheckResult gradcheck(const Module& module, const std::function<Tensor(const std::vector<Tensor>&)>& f,
                                 const std::vector<Tensor>& inputs, const GradcheckOptions& options = {}) {
  std::vector<Tensor> parameters = module.parameters();
  std::erase_if(parameters, [](const Tensor& p) { return !p.is_parameter(); });
  std::vector<Tensor> detached;  // the inputs' own gradients are not the module's business
  for (const Tensor& input : inputs) detached.push_back(input.detach());
  module.check_registered(f(detached));
  return difftensor::gradcheck(f, inputs, options, parameters);
}

/// Modules of one kind, by number: "layers.0", "layers.1", ... where this is "layers".
template <class M>
class ModuleList : public Module {
 public:
  template <class... Arguments>
  M& add(Arguments&&... arguments) {
    modules_.push_back(&add_module<M>(std::to_string(modules_.size()), std::forward<Arguments>(arguments)...));
    return *modules_.back();
  }
  size_t size() const { return modules_.size(); }
  M& operator[](size_t i) const { return *modules_.at(i); }
  // Of pointers: for (const auto* layer : layers) ...
  auto begin() const { return modules_.begin(); }
  auto end() const { return modules_.end(); }

 private:
  std::vector<M*> modules_;
};

/// Modules, and functions, one after the other: x -> ... f2(f1(f0(x))). Parameters are named by place, as in PyTorch: in
/// add<Linear>(...), add(relu), add<Linear>(...) they are "0.weight" and "2.weight".
class Sequential : public Module {
 public:
  template <class M, class... Arguments>
  M& add(Arguments&&... arguments) {
    M& module = add_module<M>(std::to_string(steps_.size()), std::forward<Arguments>(arguments)...);
    steps_.push_back([&module](const Tensor& x) { return module(x); });
    return module;
  }
  void add(std::function<Tensor(const Tensor&)> step) { steps_.push_back(std::move(step)); }
  Tensor operator()(Tensor x) const {
    for (const auto& step : steps_) x = step(x);
    return x;
  }

 private:
  std::vector<std::function<Tensor(const Tensor&)>> steps_;
};

}  // namespace difftensor::inline DT_PRECISION::nn
