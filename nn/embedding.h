#pragma once
#include "nn/module.h"

namespace difftensor::inline DT_PRECISION::nn {

/// Row ids[n] of weight (V, D) for each token n: (N, D). Throws naming the first id that is not in [0, V).
///
/// The weight begins normal with standard deviation D^-1/2. So embeddings times sqrt(D) begin with about unit variance,
/// and so do the logits of an output layer that uses the same weight.
class Embedding : public Module {
 public:
  Embedding(int64_t vocabulary, int64_t width, Random& random)
      : weight(add_parameter("weight", randn({vocabulary, width}, random, 1 / std::sqrt(static_cast<Scalar>(width))))) {
  }
  Tensor operator()(const std::vector<int32_t>& ids) const { return embedding(weight, ids); }

  const Tensor weight;
};

}  // namespace difftensor::inline DT_PRECISION::nn
