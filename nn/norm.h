#pragma once
#include "nn/module.h"

namespace difftensor::inline DT_PRECISION::nn {

/// What the two norms have in common, so that a model may take either. The result has x's shape.
class Norm : public Module {
 public:
  virtual Tensor operator()(const Tensor& x) const = 0;
};

/// x / sqrt(mean(x^2) + 1e-5) * weight (Zhang, Sennrich 2019). weight (width) begins at one. The last axis may hold
/// several groups of `width` features, such as heads; each is normalised by itself.
class RMSNorm : public Norm {
 public:
  explicit RMSNorm(int64_t width) : weight(add_parameter("weight", ones({width}))) {}
  Tensor operator()(const Tensor& x) const override { return rms_norm(x, weight); }

  const Tensor weight;
};

/// (x - mean) / sqrt(var + 1e-5) * weight + bias over the last axis, of `width` features (Ba et al. 2016). weight
/// (width) begins at one, bias (width) at zero.
class LayerNorm : public Norm {
 public:
  explicit LayerNorm(int64_t width)
      : weight(add_parameter("weight", ones({width}))), bias(add_parameter("bias", zeros({width}))) {}
  Tensor operator()(const Tensor& x) const override { return layer_norm(x, weight, bias); }

  const Tensor weight, bias;
};

}  // namespace difftensor::inline DT_PRECISION::nn
