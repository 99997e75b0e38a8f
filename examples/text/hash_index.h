#pragma once
// A hash table of numbers: what they stand for lies elsewhere.
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

namespace text {

/// Tells which of many numbered things is equal to a given one, in 8 bytes a slot and without a copy of any. Open
/// addressing: a thing is in the first free slot from the one that its hash says.
class HashIndex {
 public:
  static constexpr uint32_t none = UINT32_MAX;

  /// The number of the thing with this hash for which is_equal(number) holds. If there is none, the new thing gets
  /// `number` (not `none`), which is returned.
  template <class IsEqual>
  uint32_t find_or_add(uint64_t hash, uint32_t number, IsEqual is_equal) {
    if (4 * (size_ + 1) > 3 * slots_.size()) grow();
    const uint32_t kept = static_cast<uint32_t>(hash ^ hash >> 32);
    size_t at = kept & (slots_.size() - 1);
    for (; slots_[at].number != none; at = (at + 1) & (slots_.size() - 1))
      if (slots_[at].hash == kept && is_equal(slots_[at].number)) return slots_[at].number;
    slots_[at] = {kept, number};
    ++size_;
    return number;
  }

 private:
  struct Slot {
    uint32_t hash = 0, number = none;
  };

  void grow() {
    std::vector<Slot> larger(slots_.empty() ? 1024 : 2 * slots_.size());
    for (const Slot& slot : slots_) {
      if (slot.number == none) continue;
      size_t at = slot.hash & (larger.size() - 1);
      while (larger[at].number != none) at = (at + 1) & (larger.size() - 1);
      larger[at] = slot;
    }
    slots_ = std::move(larger);
  }

  std::vector<Slot> slots_;  // a power of two of them, at most three quarters in use
  size_t size_ = 0;
};

/// A hash of an array's bytes.
inline uint64_t hash_bytes(const void* bytes, size_t size) {
  return std::hash<std::string_view>{}({static_cast<const char*>(bytes), size});
}

}  // namespace text
