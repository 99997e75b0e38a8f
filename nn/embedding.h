#pragma once
#include "nn/module.h"

namespace difftensor::inline DT_PRECISION::nn {

/// Row ids[n] of weight (V, D) for each token n: (N, D). Normal with standard deviation D^-1/2, so that the embedding
/// times sqrt(D) and the output logits of a tied projection both begin with about unit variance.
class Embedding : public Module {
 public:
  Embedding(int64_t vocabulary, int64_t width, Random& random)
      : weight(add_parameter("weight", randn({vocabulary, width}, random, 1 / std::sqrt(static_cast<Scalar>(width))))) {
  }
  Tensor operator()(const std::vector<int32_t>& ids) const { return embedding(weight, ids); }

  Tensor weight;
};

}  // namespace difftensor::inline DT_PRECISION::nn
