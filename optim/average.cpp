#include "optim/average.h"

namespace difftensor::inline DT_PRECISION::optim {

void ParameterAverage::add(const std::map<std::string, Tensor>& state) {
  if (count_ == 0)
    for (auto& [name, tensor] : state) sums_[name] = {tensor.shape(), std::vector<double>(tensor.numel())};
  require(state.size() == sums_.size(), "ParameterAverage", state.size(), " parameters, but ", sums_.size(), " before");
  for (auto& [name, tensor] : state) {
    const auto found = sums_.find(name);
    require(found != sums_.end(), "ParameterAverage", "there was no ", name, " before");
    require(found->second.shape == tensor.shape(), "ParameterAverage", name, " has shape ", tensor.shape(), ", but ",
            found->second.shape, " before");
  }
  for (auto& [name, tensor] : state) {
    std::vector<double>& sum = sums_[name].values;
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += tensor.data()[i];
  }
  ++count_;
}

std::map<std::string, Tensor> ParameterAverage::mean() const {
  require(count_ > 0, "ParameterAverage", "nothing to average");
  std::map<std::string, Tensor> mean;
  for (auto& [name, sum] : sums_) {
    Tensor& values = mean.emplace(name, Tensor(sum.shape)).first->second;
    for (size_t i = 0; i < sum.values.size(); ++i)
      values.data()[i] = static_cast<Scalar>(sum.values[i] / static_cast<double>(count_));
  }
  return mean;
}

}  // namespace difftensor::inline DT_PRECISION::optim
