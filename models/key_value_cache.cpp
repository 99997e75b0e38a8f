#include "models/key_value_cache.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace difftensor::inline DT_PRECISION::models {

nn::KeyValues KeyValueCache::append(const nn::KeyValues& next) {
  require(!grad_enabled(), "KeyValueCache", "decoding with a cache cannot be differentiated: open a NoGrad scope");
  require(length_ < capacity_, "KeyValueCache", "no room for more than ", capacity_, " tokens");
  const int64_t k_width = k_.defined() ? k_.dim(1) : next.k.dim(1), v_width = v_.defined() ? v_.dim(1) : next.v.dim(1);
  const Shape k_shape{hypotheses_, k_width}, v_shape{hypotheses_, v_width};
  require(next.k.shape() == k_shape && next.v.shape() == v_shape, "KeyValueCache", "keys ", next.k.shape(),
          " and values ", next.v.shape(), " of one token for each hypothesis: not ", k_shape, " and ", v_shape);
  const auto copy_rows = [](const Tensor& from, int64_t row, Tensor& to, int64_t to_row, int64_t count) {
    const int64_t width = to.dim(1);
    std::copy_n(from.data() + row * width, count * width, to.data() + to_row * width);
  };
  const int64_t blocks = k_.defined() ? k_.dim(0) / block_ : 0;
  if (hypotheses_ > blocks || length_ == block_) {  // there are more of them, or longer ones, than ever
    const int64_t longer = length_ < block_ ? block_ : std::min(capacity_, std::max<int64_t>(256, 2 * block_));
    const int64_t more = std::max(hypotheses_, blocks);
    require(more <= std::numeric_limits<int32_t>::max() / longer, "KeyValueCache", "no room for ", more,
            " hypotheses of ", longer, " tokens: together they may have 2^31 - 1");
    for (Tensor* cache : {&k_, &v_}) {
      Tensor larger({more * longer, cache == &k_ ? k_width : v_width});
      for (int64_t b = 0; b < blocks; ++b) copy_rows(*cache, b * block_, larger, b * longer, length_);
      *cache = larger;
    }
    for (int32_t& row : rows_) row = static_cast<int32_t>(row / block_ * longer + row % block_);
    block_ = longer;
  }

  std::vector<int32_t> rows;
  rows.reserve(hypotheses_ * (length_ + 1));
  Spans spans;
  for (int64_t b = 0; b < hypotheses_; ++b) {
    const int64_t row = b * block_ + length_;
    copy_rows(next.k, b, k_, row, 1);
    copy_rows(next.v, b, v_, row, 1);
    spans.push_back({static_cast<int64_t>(rows.size()), length_ + 1});
    rows.insert(rows.end(), rows_.begin() + b * length_, rows_.begin() + (b + 1) * length_);
    rows.push_back(static_cast<int32_t>(row));
  }
  rows_ = std::move(rows);
  ++length_;
  return {k_, v_, spans, rows_};
}

void KeyValueCache::select(const std::vector<int32_t>& parents) {
  std::vector<int32_t> rows;
  for (int32_t parent : parents) {
    require(parent >= 0 && parent < hypotheses_, "KeyValueCache", "no hypothesis ", parent, " among ", hypotheses_);
    rows.insert(rows.end(), rows_.begin() + parent * length_, rows_.begin() + (parent + 1) * length_);
  }
  rows_ = std::move(rows);
  hypotheses_ = static_cast<int64_t>(parents.size());
}

}  // namespace difftensor::inline DT_PRECISION::models
