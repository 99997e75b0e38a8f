#pragma once
// Attention whose heads share keys and values.
#include "nn/attention.h"

namespace layers {
using namespace difftensor;

/// Grouped-query attention (Ainslie et al. 2023, arXiv 2305.13245): h query heads, but only `groups` heads of keys and
/// values, each asked by h / groups neighbouring query heads. In decoding, the cache is as much smaller. One group is
/// multi-query attention (Shazeer 2019); h groups are softmax attention. Throws unless h is divisible by groups > 0, or if
/// the configuration has a lambda_init.
class GroupedQueryAttention : public nn::Attention {
 public:
  GroupedQueryAttention(const nn::AttentionConfig& c, int groups, Random& random)
      : Attention(c, 1, c.width, head_of(c), random, false, groups * head_of(c), groups * head_of(c)), groups(groups) {
    require(groups > 0 && c.heads % groups == 0, "GroupedQueryAttention", c.heads, " heads in ", groups, " groups");
    require_no_lambda_init();
  }

  const int groups;

 protected:
  Tensor mix(const Tensor&, const Tensor& q, const Tensor& k, const Tensor& v,
             const AttentionLayout& layout) const override {
    return attention(q, repeated(k), repeated(v), layout);
  }

 private:
  static int64_t head_of(const nn::AttentionConfig& c) { return c.width / std::max(1, c.heads); }
  // (M, groups d) -> (M, h d): each head as often as it is asked
  Tensor repeated(const Tensor& x) const {
    const int64_t times = config.heads / groups, M = x.dim(0);
    const Tensor heads = expand(reshape(x, {M, groups, 1, head_width}), {M, groups, times, head_width});
    return reshape(heads, {M, config.width});
  }
};

}  // namespace layers
