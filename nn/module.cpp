#include "nn/module.h"

#include <algorithm>
#include <set>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "core/autograd.h"

namespace difftensor::inline DT_PRECISION::nn {

std::vector<std::pair<std::string, Module*>> Module::named_modules() {
  std::vector<std::pair<std::string, Module*>> all{{"", this}};
  for (auto& [name, part] : parts_)
    for (auto& [path, module] : part->named_modules())
      all.emplace_back(path.empty() ? name : name + "." + path, module);
  return all;
}

void Module::collect(NamedTensors Module::*which, const std::string& prefix, std::set<const Scalar*>& seen,
                     NamedTensors& into) const {
  for (auto& [name, tensor] : this->*which)  // tied tensors share their values
    if (seen.insert(tensor.data()).second || tensor.numel() == 0) into.emplace_back(prefix + name, tensor);
  for (auto& [name, part] : parts_) part->collect(which, prefix + name + ".", seen, into);
}

NamedTensors Module::named_parameters() const {
  NamedTensors all;
  std::set<const Scalar*> seen;
  collect(&Module::parameters_, "", seen, all);
  return all;
}

NamedTensors Module::named_buffers() const {
  NamedTensors all;
  std::set<const Scalar*> seen;
  collect(&Module::buffers_, "", seen, all);
  return all;
}

std::vector<Tensor> Module::parameters() const {
  std::vector<Tensor> all;
  for (auto& [name, tensor] : named_parameters()) all.push_back(tensor);
  return all;
}

int64_t Module::parameter_count() const {
  int64_t count = 0;
  for (auto& tensor : parameters()) count += tensor.numel();
  return count;
}

void Module::zero_grad() const {
  for (auto& tensor : parameters()) tensor.zero_grad();
}

void Module::requires_grad(bool on) {
  for (auto& [path, tensor] : named_parameters()) {
    tensor.requires_grad(on);
    if (on && tensor.node()->name.empty()) tensor.node()->name = path;
  }
}

void Module::train(bool on) {
  training_ = on;
  for (auto& [name, part] : parts_) part->train(on);
}

std::map<std::string, Tensor> Module::state_dict() const {
  std::map<std::string, Tensor> state;
  for (auto& [name, tensor] : saved()) state.emplace(name, tensor.clone());
  return state;
}

namespace {
// "; missing: a, b, c and 7 more"; nothing for no names.
std::string listed(const char* what, const std::vector<std::string>& names) {
  constexpr size_t shown = 3;
  std::string text;
  for (size_t i = 0; i < std::min(shown, names.size()); ++i) text += (i ? ", " : "") + names[i];
  if (names.size() > shown) text += " and " + std::to_string(names.size() - shown) + " more";
  return names.empty() ? "" : std::string("; ") + what + ": " + text;
}
}  // namespace

NamedTensors Module::saved() const {
  NamedTensors all = named_parameters(), buffers = named_buffers();
  all.insert(all.end(), buffers.begin(), buffers.end());
  return all;
}

void Module::load_state_dict(const std::map<std::string, Tensor>& state, bool strict) {
  std::vector<std::string> missing, misshapen, unexpected;
  NamedTensors own = saved();
  std::set<std::string> known;
  for (auto& [name, tensor] : own) {
    known.insert(name);
    auto found = state.find(name);
    if (found == state.end()) {
      missing.push_back(name);
    } else if (!(found->second.shape() == tensor.shape())) {
      std::ostringstream text;
      text << name << " " << found->second.shape() << " for " << tensor.shape();
      misshapen.push_back(text.str());
    }
  }
  for (auto& [name, tensor] : state)
    if (!known.contains(name)) unexpected.push_back(name);
  if (!strict) missing.clear(), unexpected.clear();
  const std::string report =
      listed("missing", missing) + listed("unexpected", unexpected) + listed("misshapen", misshapen);
  require(report.empty(), "load_state_dict", "the parameters are not this module's", report);
  for (auto& [name, tensor] : own) {
    const auto from = state.find(name);
    if (from != state.end()) std::copy_n(std::as_const(from->second).data(), tensor.numel(), tensor.data());
  }
}

void Module::check_registered(const Tensor& loss) const {
  std::set<const Node*> seen;
  for (const Tensor& parameter : parameters()) seen.insert(parameter.node().get());
  std::vector<const Node*> waiting{loss.node().get()};
  while (!waiting.empty()) {
    const Node* node = waiting.back();
    waiting.pop_back();
    if (!node || !seen.insert(node).second) continue;
    if (node->leaf) {
      std::ostringstream text;
      text << "the loss depends on " << (node->name.empty() ? "a parameter" : node->name) << " of shape " << node->shape
           << " that is no parameter of this module: make layers by add_module, and tensors by add_parameter";
      throw std::logic_error(text.str());
    }
    for (auto& input : node->inputs) waiting.push_back(input.get());
  }
}

void Module::require_new(const std::string& name) const {
  const auto is_new = [&](auto& entries) {
    return std::none_of(entries.begin(), entries.end(), [&](auto& entry) { return entry.first == name; });
  };
  // A dot parts a layer's name from its parameter's: "a.weight" could be two things of one name.
  require(!name.empty() && name.find('.') == name.npos, "Module", "a part cannot be named \"", name,
          "\": a name has a letter at least, and no dot");
  require(is_new(parameters_) && is_new(buffers_) && is_new(parts_), "Module", "there are two parts named ", name);
}

Tensor Module::add_parameter(const std::string& name, Tensor values) {
  require_new(name);
  if (!values.is_frozen()) values.requires_grad().node()->name = name;
  parameters_.emplace_back(name, values);
  return values;
}

Tensor Module::add_buffer(const std::string& name, Tensor values) {
  require_new(name);
  require(!values.needs_grad(), "add_buffer", name, " requires a gradient: a buffer is not trained");
  buffers_.emplace_back(name, values);
  return values;
}

Module& Module::adopt(const std::string& name, std::unique_ptr<Module> part) {
  require_new(name);
  for (auto& [path, parameter] : part->named_parameters())
    if (parameter.is_parameter()) parameter.node()->name = name + "." + path;
  parts_.emplace_back(name, std::move(part));
  return *parts_.back().second;
}

}  // namespace difftensor::inline DT_PRECISION::nn
