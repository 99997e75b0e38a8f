#pragma once
#include "nn/module.h"

namespace difftensor::inline DT_PRECISION::nn {

/// What the two norms have in common: a model may take either.
class Norm : public Module {
 public:
  virtual Tensor operator()(const Tensor& x) const = 0;
};

/// x / sqrt(mean(x^2) + 1e-5) * weight, over each group of `width` features of the last axis.
class RMSNorm : public Norm {
 public:
  explicit RMSNorm(int64_t width) : weight(add_parameter("weight", ones({width}))) {}
  Tensor operator()(const Tensor& x) const override { return rms_norm(x, weight); }

  Tensor weight;
};

/// (x - mean) / sqrt(var + 1e-5) * weight + bias over the last axis.
class LayerNorm : public Norm {
 public:
  explicit LayerNorm(int64_t width)
      : weight(add_parameter("weight", ones({width}))), bias(add_parameter("bias", zeros({width}))) {}
  Tensor operator()(const Tensor& x) const override { return layer_norm(x, weight, bias); }

  Tensor weight, bias;
};

}  // namespace difftensor::inline DT_PRECISION::nn
