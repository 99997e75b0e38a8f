#include "core/storage.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <limits>
#include <map>
#include <mutex>
#include <new>
#include <vector>

namespace difftensor::inline DT_PRECISION {
namespace {

// Size classes: eight steps per power of two, so that at most an eighth of a block is wasted while
// batches of slightly different lengths still find each other's blocks.
size_t round_up_to_class(size_t bytes) {
  size_t step = std::max<size_t>(64, std::bit_floor(bytes) / 8);
  return (bytes + step - 1) / step * step;
}

class Cache {
 public:
  void* allocate(size_t size_class) {
    {
      std::lock_guard lock(mutex_);
      stats_.bytes_in_use += size_class;
      ++stats_.blocks_in_use;
      auto& blocks = free_[size_class];
      if (!blocks.empty()) {
        void* block = blocks.back();
        blocks.pop_back();
        stats_.bytes_cached -= size_class;
        return block;
      }
    }
    void* block = std::aligned_alloc(64, size_class);
    if (!block) {
      release_cached();
      block = std::aligned_alloc(64, size_class);
    }
    if (block) return block;
    std::lock_guard lock(mutex_);
    stats_.bytes_in_use -= size_class;
    --stats_.blocks_in_use;
    throw std::bad_alloc();
  }

  void free(void* block, size_t size_class) {
    std::lock_guard lock(mutex_);
    stats_.bytes_in_use -= size_class;
    --stats_.blocks_in_use;
#ifdef __SANITIZE_ADDRESS__
    std::free(block);  // so that a use after free is seen
#else
    free_[size_class].push_back(block);
    stats_.bytes_cached += size_class;
#endif
  }

  void release_cached() {
    std::lock_guard lock(mutex_);
    for (auto& [size_class, blocks] : free_)
      for (void* block : blocks) std::free(block);
    free_.clear();
    stats_.bytes_cached = 0;
  }

  AllocatorStats stats() {
    std::lock_guard lock(mutex_);
    return stats_;
  }

 private:
  std::mutex mutex_;
  std::map<size_t, std::vector<void*>> free_;
  AllocatorStats stats_{};
};

// Never destroyed: tensors with static lifetime may outlive any order of destruction we could pick.
Cache& cache() {
  static Cache* cache = new Cache;
  return *cache;
}

}  // namespace

Storage::Storage(int64_t count) {
  constexpr size_t most = std::numeric_limits<size_t>::max() / 2;  // leaves room for the header and for rounding up
  if (static_cast<size_t>(count) > most / sizeof(Scalar)) throw std::bad_alloc();
  size_t size_class = round_up_to_class(sizeof(Block) + static_cast<size_t>(count) * sizeof(Scalar));
  block_ = new (cache().allocate(size_class)) Block{{1}, count, size_class};
}

void Storage::release() {
  if (block_ && block_->references.fetch_sub(1, std::memory_order_acq_rel) == 1)
    cache().free(block_, block_->size_class);
}

AllocatorStats allocator_stats() { return cache().stats(); }
void release_cached_memory() { cache().release_cached(); }

}  // namespace difftensor::inline DT_PRECISION
