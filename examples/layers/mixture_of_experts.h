#pragma once
// A feed-forward layer that is many, of which each token takes a few.
#include "core/ops.h"
#include "nn/feed_forward.h"

namespace layers {
using namespace difftensor;

/// Mixture of experts (Shazeer et al. 2017, arXiv 1701.06538): of E feed-forward networks, each token takes the k that
/// a router likes best, y = sum of p_e expert_e(x), with p the softmax over those k.
class MixtureOfExperts : public nn::Module {
 public:
  MixtureOfExperts(int64_t width, int64_t inner, int experts, int64_t k, Random& random)
      : k(k),
        router(add_module<nn::Linear>("router", width, experts, false, random)),
        experts(add_module<nn::ModuleList<nn::FeedForward>>("experts")) {
    for (int e = 0; e < experts; ++e) this->experts.add(width, inner, nn::Activation::swiglu, random);
  }

  struct Result {
    Tensor y;  ///< (N, D)
    /// A loss to add, small where all experts have equally much to do (Fedus et al. 2021, arXiv 2101.03961).
    Tensor balance;
  };
  /// x (N, D)
  Result operator()(const Tensor& x) const {
    const int64_t N = x.dim(0), E = static_cast<int64_t>(experts.size());
    const Tensor scores = router(x);  // (N, E)
    const auto [best, chosen] = topk(scores, k);
    const Tensor p = softmax(best);  // (N, k)
    // Tokens in the order of their experts, so that each expert computes once; and where each result then is.
    std::vector<int32_t> places(N * k);
    std::vector<Tensor> results;
    std::vector<Scalar> share(E, 0);  // of all N k choices, those of the expert
    int32_t place = 0;
    for (int64_t e = 0; e < E; ++e) {
      std::vector<int32_t> tokens;
      for (int64_t i = 0; i < N * k; ++i)
        if (chosen.values[i] == e) {
          tokens.push_back(static_cast<int32_t>(i / k));
          places[i] = place++;
        }
      share[e] = static_cast<Scalar>(tokens.size()) / static_cast<Scalar>(N * k);
      if (!tokens.empty()) results.push_back(experts[e](gather_rows(x, tokens)));
    }
    const Tensor taken = reshape(gather_rows(concat(results, 0), places), {N, k, -1});
    // E times the sum over experts of (share of choices) x (mean probability): 1 if all are alike, usually more if not.
    const Tensor balance = sum(mean(softmax(scores), 0) * tensor(share, {E})) * static_cast<Scalar>(E);
    return {sum(taken * unsqueeze(p, -1), 1), balance};
  }

  const int64_t k;
  nn::Linear& router;
  nn::ModuleList<nn::FeedForward>& experts;
};

}  // namespace layers
