#include "core/tensor.h"

#include <cmath>
#include <iomanip>
#include <ostream>

#include "core/autograd.h"

namespace difftensor::inline DT_PRECISION {

std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  out << '(';
  for (int i = 0; i < shape.rank(); ++i) out << (i ? ", " : "") << shape[i];
  return out << (shape.rank() == 1 ? ",)" : ")");
}

void Shape::too_large() const {
  std::ostringstream text;
  text << "Shape: " << *this << " has too many elements";
  throw std::invalid_argument(text.str());
}

Random& default_random() {
  thread_local Random random;
  return random;
}
void manual_seed(uint64_t seed, uint64_t stream) { default_random() = Random(seed, stream); }

Tensor::Tensor(const Shape& shape, Storage storage)
    : impl_(std::make_shared<Impl>(Impl{shape, std::move(storage), nullptr, nullptr})) {
  require(numel() == shape.numel(), "Tensor", numel(), " values for shape ", shape);
}

int64_t Tensor::dim(int axis) const {
  int i = axis < 0 ? axis + rank() : axis;
  require(i >= 0 && i < rank(), "dim", "axis ", axis, " of shape ", shape());
  return shape()[i];
}

Scalar Tensor::item() const {
  require(numel() == 1, "item", "shape ", shape(), " is not one element");
  return data()[0];
}

bool Tensor::is_parameter() const { return needs_grad() && node()->leaf; }

Tensor& Tensor::requires_grad(bool on) & {
  require(!node() || node()->leaf, "requires_grad",
          "only a leaf can be a parameter; this is the result of an op (use detach())");
  Impl& self = impl();
  if (on == needs_grad()) return *this;
  std::swap(self.node, self.frozen);
  if (on && !self.node) self.node = std::make_shared<Node>("leaf", shape(), true);
  return *this;
}

Tensor Tensor::grad() const {
  if (!node() || !node()->gradient_slot()) return {};
  return Tensor(shape(), node()->gradient_slot());
}

void Tensor::zero_grad() const {
  for (const auto& place : {impl().node, impl().frozen})
    if (place) place->gradient_slot() = {};
}

Tensor Tensor::clone() const {
  Tensor copy(shape());
  std::copy_n(data(), numel(), copy.data());
  return copy;
}

Tensor zeros(const Shape& shape) { return full(shape, 0); }
Tensor ones(const Shape& shape) { return full(shape, 1); }
Tensor full(const Shape& shape, Scalar value) {
  Tensor t(shape);
  std::fill_n(t.data(), t.numel(), value);
  return t;
}
Tensor scalar(Scalar value) { return full({}, value); }

Tensor tensor(const std::vector<Scalar>& values, const Shape& shape) {
  require(static_cast<int64_t>(values.size()) == shape.numel(), "tensor", values.size(), " values for shape ", shape);
  Tensor t(shape);
  std::copy(values.begin(), values.end(), t.data());
  return t;
}

Tensor arange(Scalar begin, Scalar end, Scalar step) {
  require(step != 0 && std::isfinite(begin) && std::isfinite(end) && std::isfinite(step), "arange", "from ", begin,
          " to ", end, " by ", step);
  const auto element = [=](int64_t i) {  // in double: rounded once
    return static_cast<Scalar>(static_cast<double>(begin) + static_cast<double>(i) * static_cast<double>(step));
  };
  // How many come before the end once they are rounded? They ascend (or descend), so the number is found bit by bit. A
  // quotient would be rounded itself.
  int64_t count = 0;
  for (int64_t bit = int64_t{1} << 62; bit; bit /= 2)
    if (const Scalar last = element(count + bit - 1); step > 0 ? last < end : last > end) count += bit;
  Tensor t(Shape{count});
  for (int64_t i = 0; i < count; ++i) t.data()[i] = element(i);
  return t;
}

Tensor eye(int64_t n) {
  Tensor t = zeros({n, n});
  for (int64_t i = 0; i < n; ++i) t.data()[i * n + i] = 1;
  return t;
}

Tensor rand(const Shape& shape, Random& random, Scalar low, Scalar high) {
  const Scalar width = high - low;
  require(low <= high && std::isfinite(width), "rand", "from ", low, " to ", high, " is no range, or too long a one");
  const Scalar last = low < high ? std::nextafter(high, low) : low;  // where the sum below rounds up to high
  Tensor t(shape);
  for (int64_t i = 0; i < t.numel(); ++i) t.data()[i] = std::min(low + width * random.uniform(), last);
  return t;
}

Tensor randn(const Shape& shape, Random& random, Scalar std) {
  Tensor t(shape);
  for (int64_t i = 0; i < t.numel(); ++i) t.data()[i] = std * random.normal();
  return t;
}

Tensor bernoulli(const Tensor& p, Random& random) {
  Tensor t(p.shape());
  for (int64_t i = 0; i < t.numel(); ++i) {
    const Scalar chance = std::as_const(p).data()[i];
    require(chance >= 0 && chance <= 1, "bernoulli", "a probability of ", chance);
    t.data()[i] = random.uniform_double() < static_cast<double>(chance) ? 1 : 0;
  }
  return t;
}

Tensor xavier_uniform(const Shape& shape, Random& random) {
  require(shape.rank() == 2, "xavier_uniform", "a weight has 2 axes, not ", shape);
  Scalar a = std::sqrt(Scalar{6} / static_cast<Scalar>(shape[0] + shape[1]));
  return rand(shape, random, -a, a);
}

namespace {
// Prints the block of `shape` from `axis` on that starts at `data`; returns its end.
const Scalar* print(std::ostream& out, const Shape& shape, int axis, const Scalar* data) {
  if (axis == shape.rank()) {
    out << std::setw(8) << *data;
    return data + 1;
  }
  constexpr int64_t edge = 3;
  const int64_t n = shape[axis], inner = Shape(shape.begin() + axis + 1, shape.end()).numel();
  const bool elide = n > 2 * edge + 1, last = axis + 1 == shape.rank();
  out << '[';
  for (int64_t i = 0; i < n; ++i) {
    if (i && last) out << ' ';
    if (i && !last) out << '\n' << std::setw(axis + 1) << "";
    if (elide && i == edge) {
      out << "...";
      data += (n - 2 * edge) * inner;
      i = n - edge - 1;
    } else {
      data = print(out, shape, axis + 1, data);
    }
  }
  out << ']';
  return data;
}
}  // namespace

std::ostream& operator<<(std::ostream& out, const Tensor& t) {
  if (!t.defined()) return out << "undefined tensor";
  std::ostringstream text;
  text << std::setprecision(4);
  print(text, t.shape(), 0, t.data());
  return out << text.str() << " shape " << t.shape();
}

}  // namespace difftensor::inline DT_PRECISION
