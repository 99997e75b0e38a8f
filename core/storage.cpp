#include "core/storage.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <limits>
#include <map>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

// Under AddressSanitizer, what a block holds beyond the Scalars asked for is out of bounds.
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace difftensor::inline DT_PRECISION {
namespace {

// Size classes: eight steps per power of two, of 64 bytes at least, so that batches of slightly different lengths find
// each other's blocks.
size_t round_up_to_class(size_t bytes) {
  size_t step = std::max<size_t>(64, std::bit_floor(bytes) / 8);
  return (bytes + step - 1) / step * step;
}

// The free blocks of one thread. A block goes back to the thread that asked for it, whoever frees it: there it is most
// likely to be in the core's own cache.
class Cache {
 public:
  // A block of at least `size_class` bytes; says how many it really has.
  void* allocate(size_t& size_class) {
    if (bytes_cached_.load(std::memory_order_relaxed) < size_class) return nullptr;
    std::lock_guard lock(mutex_);
    // Something up to half as large again will do: batches differ a little in length, and memory is short before time
    // is.
    for (auto found = free_.lower_bound(size_class); found != free_.end() && found->first <= size_class * 3 / 2;
         ++found) {
      auto& [found_class, blocks] = *found;
      if (blocks.empty()) continue;
      void* block = blocks.back();
      blocks.pop_back();
      bytes_cached_ -= size_class = found_class;
      return block;
    }
    return nullptr;
  }

  void free(void* block, size_t size_class) {
    std::lock_guard lock(mutex_);
    free_[size_class].push_back(block);
    bytes_cached_ += size_class;
  }

  void release_cached() {
    std::lock_guard lock(mutex_);
    for (auto& [size_class, blocks] : free_)
      for (void* block : blocks) std::free(block);
    free_.clear();
    bytes_cached_ = 0;
  }

  size_t bytes_cached() const { return bytes_cached_; }

 private:
  std::mutex mutex_;  // hardly ever waited for: blocks are mostly freed by the thread that asked for them
  std::map<size_t, std::vector<void*>> free_;
  std::atomic<size_t> bytes_cached_ = 0;
};

// Never destroyed: tensors of static lifetime, and of threads that end, may outlive any order of destruction we could
// pick. Threads beyond so many share.
constexpr size_t cache_count = 64;
Cache* caches() {
  static Cache* const caches = new Cache[cache_count];
  return caches;
}
size_t thread_number() {
  static std::atomic<size_t> threads = 0;
  thread_local const size_t number = threads++;
  return number;
}

// A free block of this thread or, before the system is asked for more, of any other, which may have ended.
void* find_block(size_t& size_class) {
  for (size_t i = 0; i < cache_count; ++i)
    if (void* block = caches()[(thread_number() + i) % cache_count].allocate(size_class)) return block;
  return nullptr;
}

// Memory of the system. What is large lies on huge pages if there are any: a walk through it then needs few entries of
// the processor's table of addresses.
void* allocate(size_t size_class) {
  constexpr size_t huge_page = size_t{2} << 20;
  if (size_class < huge_page) return std::aligned_alloc(64, size_class);
  void* block = nullptr;  // not from aligned_alloc, which asks for a multiple of the alignment: 5 MiB are none
  if (posix_memalign(&block, huge_page, size_class) != 0) return nullptr;
  madvise(block, size_class, MADV_HUGEPAGE);  // advice: a refusal does no harm
  return block;
}

std::atomic<size_t> bytes_in_use = 0, blocks_in_use = 0;

}  // namespace

void Storage::unshare() {
  if (!block_ || unique()) return;
  Storage own(size());
  std::copy_n(std::as_const(*this).data(), size(), own.data());
  *this = std::move(own);
}

Storage::Storage(int64_t count) {
  constexpr size_t most = std::numeric_limits<size_t>::max() / 2;  // leaves room for the header and for rounding up
  if (static_cast<size_t>(count) > most / sizeof(Scalar)) throw std::bad_alloc();
  size_t size_class = round_up_to_class(sizeof(Block) + static_cast<size_t>(count) * sizeof(Scalar));
  void* block = find_block(size_class);
  if (!block) block = allocate(size_class);
  if (!block) {
    release_cached_memory();
    block = allocate(size_class);
  }
  if (!block) throw std::bad_alloc();
  bytes_in_use.fetch_add(size_class, std::memory_order_relaxed);
  blocks_in_use.fetch_add(1, std::memory_order_relaxed);
  block_ = new (block) Block{{1}, {0}, count, size_class, &caches()[thread_number() % cache_count]};
#ifdef __SANITIZE_ADDRESS__
  const size_t used = sizeof(Block) + static_cast<size_t>(count) * sizeof(Scalar);
  ASAN_POISON_MEMORY_REGION(static_cast<char*>(block) + used, size_class - used);
#endif
}

void Storage::release() {
  if (!block_ || block_->references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  bytes_in_use.fetch_sub(block_->size_class, std::memory_order_relaxed);
  blocks_in_use.fetch_sub(1, std::memory_order_relaxed);
#ifdef __SANITIZE_ADDRESS__
  ASAN_UNPOISON_MEMORY_REGION(block_, block_->size_class);
  std::free(block_);  // so that a use after free is seen
#else
  static_cast<Cache*>(block_->cache)->free(block_, block_->size_class);
#endif
}

AllocatorStats allocator_stats() {
  size_t bytes_cached = 0;
  for (size_t i = 0; i < cache_count; ++i) bytes_cached += caches()[i].bytes_cached();
  return {bytes_in_use, bytes_cached, blocks_in_use};
}
void release_cached_memory() {
  for (size_t i = 0; i < cache_count; ++i) caches()[i].release_cached();
}

}  // namespace difftensor::inline DT_PRECISION
