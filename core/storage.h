#pragma once
// Reference-counted buffers from a caching, 64-byte-aligned allocator.
#include <atomic>
#include <cstddef>
#include <utility>

#include "core/base.h"

// Are we under AddressSanitizer? clang++ says it in another way.
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1  // as g++ says it
#endif
#endif

namespace difftensor::inline DT_PRECISION {

/// A shared, fixed-size array of Scalars, aligned to 64 bytes (one cache line, one AVX-512 register).
///
/// Training allocates the same sizes at every step, so a freed block goes to a free list and the next
/// request of its size class takes it from there: no page faults, no zeroing by the kernel. The
/// reference count sits in the block's first cache line, so a Storage costs one allocation, or none.
///
/// Whoever may write asks a handle that is not const for data(), and that is counted. So backward() can tell whether the
/// values that it is about to read are still those of the forward pass. To read, ask a const handle.
class Storage {
 public:
  Storage() = default;
  /// `count` Scalars of undefined content. Throws std::bad_alloc, also if `count` is negative.
  explicit Storage(int64_t count);
  Storage(const Storage& other) : block_(other.block_) {
    if (block_) block_->references.fetch_add(1, std::memory_order_relaxed);
  }
  Storage(Storage&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  Storage& operator=(Storage other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~Storage() { release(); }

  const Scalar* data() const { return block_ ? reinterpret_cast<const Scalar*>(block_ + 1) : nullptr; }
  Scalar* data() {
    if (!block_) return nullptr;
    // Not fetch_add, which would cost a locked instruction: if two threads count at once, one count for both will do.
    block_->writes.store(block_->writes.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    return reinterpret_cast<Scalar*>(block_ + 1);
  }
  /// How often writable data was asked for.
  int64_t writes() const { return block_ ? block_->writes.load(std::memory_order_relaxed) : 0; }
  int64_t size() const { return block_ ? block_->count : 0; }
  /// Is this the only handle to the block?
  bool unique() const { return block_ && block_->references.load(std::memory_order_acquire) == 1; }
  /// Copies the block if there are other handles to it, which are not to see what is written next.
  void unshare();
  explicit operator bool() const { return block_ != nullptr; }
  bool operator==(const Storage&) const = default;

 private:
  struct alignas(64) Block {
    std::atomic<int64_t> references, writes;
    int64_t count;      // Scalars asked for
    size_t size_class;  // bytes in all, this header included
    void* cache;        // where it goes when it is free
  };
  void release();
  Block* block_ = nullptr;
};

/// What the allocator holds, in bytes and blocks.
struct AllocatorStats {
  size_t bytes_in_use, bytes_cached, blocks_in_use;
};
AllocatorStats allocator_stats();

/// Returns every cached block to the system. (What attention works with stays with its thread.)
void release_cached_memory();

}  // namespace difftensor::inline DT_PRECISION
