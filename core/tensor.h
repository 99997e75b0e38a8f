#pragma once
// Tensor: a handle to values, their shape, and their place in the autograd graph.
#include <algorithm>
#include <array>
#include <initializer_list>
#include <iosfwd>
#include <memory>
#include <vector>

#include "core/base.h"
#include "core/random.h"
#include "core/storage.h"

namespace difftensor::inline DT_PRECISION {

/// The sizes of a tensor's axes, outermost first; at most 8 of them. {} is a scalar.
class Shape {
 public:
  static constexpr int max_rank = 8;
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(dims.begin(), dims.end()) {}
  template <class Iterator>
  Shape(Iterator first, Iterator last) {
    for (; first != last; ++first) push_back(*first);
  }
  void push_back(int64_t dim) {
    require(rank_ < max_rank, "Shape", "more than ", max_rank, " axes");
    require(dim >= 0, "Shape", "negative size ", dim);
    dims_[rank_++] = dim;
  }
  int rank() const { return rank_; }
  /// The product of the sizes. Throws if it needs more than 63 bits.
  int64_t numel() const {
    int64_t n = 1;
    bool overflow = false;
    for (int64_t dim : *this) overflow |= __builtin_mul_overflow(n, dim, &n);
    if (overflow) [[unlikely]]
      too_large();
    return n;
  }
  /// Throws if there is no such axis. (Tensor::dim counts negative ones from the end.)
  int64_t operator[](int axis) const { return dims_[checked(axis)]; }
  int64_t& operator[](int axis) { return dims_[checked(axis)]; }
  int64_t back() const { return (*this)[rank_ - 1]; }
  const int64_t* begin() const { return dims_.data(); }
  const int64_t* end() const { return dims_.data() + rank_; }
  bool operator==(const Shape& other) const { return std::equal(begin(), end(), other.begin(), other.end()); }

 private:
  [[noreturn]] void too_large() const;
  int checked(int axis) const {
    require(axis >= 0 && axis < rank_, "Shape", "there is no axis ", axis, " among ", rank_);
    return axis;
  }
  std::array<int64_t, max_rank> dims_{};
  int rank_ = 0;
};
std::ostream& operator<<(std::ostream&, const Shape&);  // (2, 3)

struct Node;  // core/autograd.h

/// A row-major, contiguous array that may take part in an autograd graph.
///
/// A Tensor is a handle: copies share values and gradient, as in PyTorch. Operations (core/ops.h) make new
/// tensors and never change their inputs. There are no strides and no views; `reshape` shares values.
///
///   Tensor x = tensor({2, 3}, {2}).requires_grad();  // values, then the shape
///   Tensor loss = sum(x * x);                         // 13
///   loss.backward();                                  // x.grad() is now 2 x = (4, 6)
class Tensor {
 public:
  /// The empty handle; `defined()` is false.
  Tensor() = default;
  /// Values undefined. The other ways to make one: zeros, ones, full, tensor, randn, rand.
  explicit Tensor(const Shape& shape) : Tensor(shape, Storage(shape.numel())) {}
  /// These values, shared. Throws if their number is not the shape's.
  Tensor(const Shape& shape, Storage storage);

  bool defined() const { return impl_ != nullptr; }
  // What follows throws std::invalid_argument if the handle is empty, but for needs_grad(), is_parameter() and
  // is_frozen().

  const Shape& shape() const { return impl().shape; }
  int rank() const { return shape().rank(); }
  /// Size of an axis; negative axes count from the end. Throws if there is no such axis.
  int64_t dim(int axis) const;
  int64_t numel() const { return storage().size(); }
  /// The values, to be read. So are values() and item().
  const Scalar* data() const { return storage().data(); }
  /// The values, to be written, which is counted: backward() refuses to read what was written after the forward pass.
  /// Counted is the asking, so ask again after each forward pass: what is written by an earlier pointer is not seen.
  Scalar* data() { return impl().storage.data(); }
  const Storage& storage() const { return impl().storage; }
  std::vector<Scalar> values() const { return {data(), data() + numel()}; }
  /// The value of a one-element tensor. Throws otherwise.
  Scalar item() const;

  /// Marks a leaf as a parameter: backward() will leave dL/d(this) in grad(). Throws on the result of an op. While this
  /// is off, new ops record nothing of the tensor, and grad() is empty. But what had arrived is kept, and graphs made
  /// before go on adding to it: grad() has it when this is on again, unless zero_grad() came between.
  Tensor& requires_grad(bool on = true) &;
  Tensor requires_grad(bool on = true) && { return requires_grad(on); }  // a handle, for a reference would dangle
  /// Is this a parameter, or the result of an op on one?
  bool needs_grad() const { return impl_ && impl_->node; }
  /// Is this a leaf that requires_grad() marked?
  bool is_parameter() const;
  /// Is this such a leaf, and has requires_grad(false) been called since?
  bool is_frozen() const { return impl_ && impl_->frozen; }
  /// A parameter's gradient, sharing its buffer until more is added to it; an empty handle if none has arrived. Results
  /// of ops keep none: core/README.md, "Add an op", shows how to look at one.
  Tensor grad() const;
  /// Forgets the gradient, as PyTorch's zero_grad(set_to_none=True); also one that requires_grad(false) keeps.
  void zero_grad() const;

  /// Adds d(this)/d(leaf) to every leaf's grad(), and frees the graph. Throws unless this has one element; if nothing
  /// it depends on requires a gradient; and if the graph was freed by an earlier backward(), is being walked by another,
  /// or has values that were written since. What an op throws on the way is thrown on: the graph is freed then, and the
  /// gradients of leaves are undefined.
  void backward() const;
  /// The same with a seed dL/d(this), of this tensor's shape, in place of 1.
  void backward(const Tensor& seed) const;

  /// The same values, shared, outside any graph.
  Tensor detach() const { return Tensor(shape(), storage()); }
  /// A copy of the values, outside any graph too: unlike PyTorch's clone(), it passes no gradient on.
  Tensor clone() const;

  /// The place in the graph, null if there is none; record() gives one.
  const std::shared_ptr<Node>& node() const { return impl().node; }
  void set_node(std::shared_ptr<Node> node) { impl().node = std::move(node); }

 private:
  struct Impl {
    Shape shape;
    Storage storage;
    std::shared_ptr<Node> node;    // null: needs no gradient
    std::shared_ptr<Node> frozen;  // a leaf's, while requires_grad() is off: graphs made before may still lead to it
  };
  Impl& impl() const {
    require(impl_ != nullptr, "Tensor",
            "this handle is empty: nothing was put there or, in grad(), no gradient has come");
    return *impl_;
  }
  std::shared_ptr<Impl> impl_;
};

/// Prints values in nested brackets as NumPy does, eliding the middle of long axes, then the shape.
std::ostream& operator<<(std::ostream&, const Tensor&);

Tensor zeros(const Shape& shape);
Tensor ones(const Shape& shape);
Tensor full(const Shape& shape, Scalar value);
/// A scalar.
Tensor scalar(Scalar value);
/// `values` in row-major order. Throws if their number is not the shape's.
Tensor tensor(const std::vector<Scalar>& values, const Shape& shape);
/// begin, begin + step, ... below end, or above it if step < 0. Each is rounded once, and what rounds to `end` is left
/// out: .1f times 3 is below .3f, but not as a float. Throws if step is 0 or a number is not finite.
Tensor arange(Scalar begin, Scalar end, Scalar step = 1);
inline Tensor arange(Scalar end) { return arange(0, end); }
/// The identity matrix.
Tensor eye(int64_t n);
/// Uniform on [low, high): what would round to high is the number below it; low = high gives low. Throws if low > high
/// or high - low is infinite.
Tensor rand(const Shape& shape, Random& random, Scalar low = 0, Scalar high = 1);
/// Normal with the given standard deviation.
Tensor randn(const Shape& shape, Random& random, Scalar std = 1);
/// 1 with the probability that p has there, in steps of 2^-53; 0 otherwise. Throws unless 0 <= p <= 1.
Tensor bernoulli(const Tensor& p, Random& random);
/// Uniform on (-a, a), a = sqrt(6 / (fan_in + fan_out)), for a weight of shape (fan_out, fan_in) (Glorot, Bengio 2010).
Tensor xavier_uniform(const Shape& shape, Random& random);

}  // namespace difftensor::inline DT_PRECISION
