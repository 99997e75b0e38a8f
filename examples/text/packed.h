#pragma once
// Many short sequences in one array.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace text {

/// Sequences laid end to end. A vector of vectors would spend 24 bytes and an allocation on each; here it is 8 bytes.
template <class T>
class Packed {
 public:
  Packed() = default;
  /// Sequences of these lengths, of zeros, to be filled in.
  explicit Packed(const std::vector<int32_t>& lengths) {
    uint64_t end = 0;
    ends_.reserve(lengths.size());
    for (const int32_t length : lengths) ends_.push_back(end += length);
    items_.resize(end);
  }

  size_t size() const { return ends_.size(); }
  std::span<const T> operator[](size_t i) const { return {items_.data() + begin(i), items_.data() + ends_[i]}; }
  std::span<T> operator[](size_t i) { return {items_.data() + begin(i), items_.data() + ends_[i]}; }
  /// All of them, end to end.
  std::span<const T> items() const { return items_; }

  /// Room for so many items: memory that is not written to costs nothing, but moving them as they grow does.
  void reserve(size_t items) { items_.reserve(items); }
  void add(std::span<const T> sequence) {
    items_.insert(items_.end(), sequence.begin(), sequence.end());
    close();
  }
  /// Another way to add a sequence: item by item, and then its end.
  void push(const T& item) { items_.push_back(item); }
  void close() { ends_.push_back(items_.size()); }

  /// Removes the sequences of which removed(i) is true, without a second array.
  template <class Removed>
  void remove_if(Removed removed) {
    size_t kept = 0, end = 0, from = 0;
    for (size_t i = 0; i < size(); ++i) {
      const size_t to = ends_[i];
      if (!removed(i)) {
        for (; from < to; ++from) items_[end++] = items_[from];
        ends_[kept++] = end;
      }
      from = to;
    }
    items_.resize(end);
    ends_.resize(kept);
  }

 private:
  size_t begin(size_t i) const { return i ? ends_[i - 1] : 0; }

  std::vector<T> items_;
  std::vector<uint64_t> ends_;
};

}  // namespace text
