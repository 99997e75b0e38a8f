#include "models/key_value_cache.h"

#include <algorithm>
#include <numeric>
#include <set>

namespace difftensor::inline DT_PRECISION::models {

KeyValueCache::KeyValueCache(int64_t hypotheses, int64_t capacity, int64_t width)
    : k_({hypotheses, capacity, width}), v_({hypotheses, capacity, width}), capacity_(capacity), width_(width) {
  blocks_.resize(hypotheses);
  std::iota(blocks_.begin(), blocks_.end(), int64_t{0});
}

nn::KeyValues KeyValueCache::append(const nn::KeyValues& next) {
  require(!grad_enabled(), "KeyValueCache", "decoding with a cache cannot be differentiated: open a NoGrad scope");
  require(length_ < capacity_, "KeyValueCache", "no room for more than ", capacity_, " tokens");
  const Shape wanted{static_cast<int64_t>(blocks_.size()), width_};
  require(next.k.shape() == wanted && next.v.shape() == wanted, "KeyValueCache", "keys ", next.k.shape(),
          " and values ", next.v.shape(), " of one token for each hypothesis: not ", wanted);
  Spans spans;
  for (size_t b = 0; b < blocks_.size(); ++b) {
    const int64_t begin = blocks_[b] * capacity_, from = static_cast<int64_t>(b) * width_;
    std::copy_n(next.k.data() + from, width_, k_.data() + (begin + length_) * width_);
    std::copy_n(next.v.data() + from, width_, v_.data() + (begin + length_) * width_);
    spans.push_back({begin, length_ + 1});
  }
  ++length_;
  return {reshape(k_, {-1, width_}), reshape(v_, {-1, width_}), spans};
}

void KeyValueCache::select(const std::vector<int32_t>& parents) {
  std::vector<int64_t> chosen;
  for (int32_t parent : parents) {
    require(parent >= 0 && parent < static_cast<int32_t>(blocks_.size()), "KeyValueCache", "no hypothesis ", parent,
            " among ", blocks_.size());
    chosen.push_back(blocks_[parent]);
  }
  const int64_t count = static_cast<int64_t>(chosen.size());
  if (std::set<int64_t>(chosen.begin(), chosen.end()).size() == chosen.size()) {  // none is doubled: nothing moves
    blocks_ = chosen;
    return;
  }
  for (Tensor* cache : {&k_, &v_}) {
    Tensor copies({count, capacity_, width_});
    for (int64_t b = 0; b < count; ++b)
      std::copy_n(cache->data() + chosen[b] * capacity_ * width_, length_ * width_,
                  copies.data() + b * capacity_ * width_);
    *cache = copies;
  }
  blocks_.resize(count);
  std::iota(blocks_.begin(), blocks_.end(), int64_t{0});
}

}  // namespace difftensor::inline DT_PRECISION::models
