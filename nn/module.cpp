#include "nn/module.h"

#include <algorithm>
#include <set>
#include <sstream>

namespace difftensor::inline DT_PRECISION::nn {

void Module::collect(const std::string& prefix, NamedParameters& into) const {
  for (auto& [name, tensor] : parameters_) into.emplace_back(prefix + name, tensor);
  for (auto& [name, part] : parts_) part->collect(prefix + name + ".", into);
}

NamedParameters Module::named_parameters() const {
  NamedParameters all;
  collect("", all);
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

void Module::train(bool on) {
  training_ = on;
  for (auto& [name, part] : parts_) part->train(on);
}

std::map<std::string, Tensor> Module::state_dict() const {
  std::map<std::string, Tensor> state;
  for (auto& [name, tensor] : named_parameters()) state.emplace(name, tensor.clone());
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

void Module::load_state_dict(const std::map<std::string, Tensor>& state) {
  std::vector<std::string> missing, misshapen, unexpected;
  auto own = named_parameters();
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
  const std::string report =
      listed("missing", missing) + listed("unexpected", unexpected) + listed("misshapen", misshapen);
  require(report.empty(), "load_state_dict", "the parameters are not this module's", report);
  for (auto& [name, tensor] : own) {
    const Tensor& from = state.at(name);
    std::copy_n(from.data(), from.numel(), tensor.data());
  }
}

void Module::require_new(const std::string& name) const {
  const auto same = [&](auto& entry) { return entry.first == name; };
  require(
      std::none_of(parameters_.begin(), parameters_.end(), same) && std::none_of(parts_.begin(), parts_.end(), same),
      "Module", "there are two parts named ", name);
}

Tensor Module::add_parameter(const std::string& name, Tensor values) {
  require_new(name);
  values.requires_grad();
  values.node()->name = name;
  parameters_.emplace_back(name, values);
  return values;
}

void Module::add_module(const std::string& name, Module& part) {
  require_new(name);
  parts_.emplace_back(name, &part);
  for (auto& [path, parameter] : part.named_parameters()) parameter.node()->name = name + "." + path;
}

}  // namespace difftensor::inline DT_PRECISION::nn
