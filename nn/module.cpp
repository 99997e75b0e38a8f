#include "nn/module.h"

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

void Module::load_state_dict(const std::map<std::string, Tensor>& state) {
  std::ostringstream missing, misshapen, unexpected;
  auto own = named_parameters();
  std::map<std::string, bool> known;
  for (auto& [name, tensor] : own) {
    known[name] = true;
    auto found = state.find(name);
    if (found == state.end())
      missing << ' ' << name;
    else if (!(found->second.shape() == tensor.shape()))
      misshapen << ' ' << name << ' ' << found->second.shape() << " for " << tensor.shape();
  }
  for (auto& [name, tensor] : state)
    if (!known.count(name)) unexpected << ' ' << name;
  std::string report;
  if (!missing.str().empty()) report += "; missing:" + missing.str();
  if (!unexpected.str().empty()) report += "; unexpected:" + unexpected.str();
  if (!misshapen.str().empty()) report += "; misshapen:" + misshapen.str();
  require(report.empty(), "load_state_dict", "the parameters are not this module's", report);
  for (auto& [name, tensor] : own) {
    const Tensor& from = state.at(name);
    std::copy_n(from.data(), from.numel(), tensor.data());
  }
}

Tensor Module::add_parameter(const std::string& name, Tensor values) {
  values.requires_grad();
  parameters_.emplace_back(name, values);
  return values;
}

}  // namespace difftensor::inline DT_PRECISION::nn
