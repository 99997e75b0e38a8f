#pragma once
// Module: what every layer and model is. It knows its parameters by name, its mode, and how to be saved.
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/ops.h"

namespace difftensor::inline DT_PRECISION::nn {

/// Parameters by path, such as "encoder.layers.0.self_attn.q_proj.weight". A module's own come first, then those of its
/// parts, each in the order in which they were added.
using NamedParameters = std::vector<std::pair<std::string, Tensor>>;

/// The base of all layers, as torch.nn.Module is. A layer's constructor registers its parameters (add_parameter) and
/// the modules it is made of (add_module); its operator() computes. What is not registered is neither trained nor
/// saved. A module knows its parts by their addresses, so it is neither copied nor moved.
class Module {
 public:
  Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  virtual ~Module() = default;

  /// Every parameter of this module and its parts, with its path.
  NamedParameters named_parameters() const;
  /// The same without the paths: what an optimizer takes.
  std::vector<Tensor> parameters() const;
  /// The number of elements in all of them.
  int64_t parameter_count() const;
  /// Forgets all their gradients.
  void zero_grad() const;

  /// Training mode (dropout on) or, with false, evaluation mode, here and in all parts.
  void train(bool on = true);
  void eval() { train(false); }
  /// Is this module in training mode? True at first.
  bool training() const { return training_; }

  /// A copy of every parameter's values, by path.
  std::map<std::string, Tensor> state_dict() const;
  /// Takes over the values. Throws std::invalid_argument, having changed nothing, unless names and shapes are exactly
  /// this module's; the message names what is missing, unexpected or misshapen.
  void load_state_dict(const std::map<std::string, Tensor>& state);

 protected:
  /// Makes `values` a trainable parameter of this module, and returns the handle to keep in a member, by which
  /// operator() computes. Throws if the name is taken.
  Tensor add_parameter(const std::string& name, Tensor values);
  /// Makes `part` a part of this module: its parameters count as this one's, as "name.parameter", and it follows this
  /// one's mode. It must live as long as this module: a member, or owned by one. Throws if the name is taken.
  void add_module(const std::string& name, Module& part);

 private:
  void require_new(const std::string& name) const;
  void collect(const std::string& prefix, NamedParameters& into) const;
  std::vector<std::pair<std::string, Tensor>> parameters_;
  std::vector<std::pair<std::string, Module*>> parts_;
  bool training_ = true;
};

}  // namespace difftensor::inline DT_PRECISION::nn
