#pragma once
// Reverse-mode automatic differentiation.
//
// Every op computes its result at once and, if any input needs a gradient, hangs a Node on it: which nodes it was
// made from, and a closure that turns dL/d(output) into dL/d(inputs). The nodes form a directed acyclic graph that
// grows as the program runs. backward() then walks it from the loss, every node after all that use it: when its turn
// comes, they have already added their parts of its gradient:
//
//     x ----> mul ----> sum ----> L          forward: left to right
//     w ----/                                backward: right to left, dL/dL = 1, then the chain rule
//
// The order of the walk is a function of the graph alone. So it does not matter on which threads a graph was built, as
// long as one thread is done with a tensor before the next one begins.
#include <concepts>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/anomaly.h"  // the scope DetectAnomaly
#include "core/kernels/parallel.h"
#include "core/tensor.h"

namespace difftensor::inline DT_PRECISION {

/// Where a gradient is added to. If `is_new`, nothing has arrived yet: the content is undefined, to be overwritten.
struct GradientBuffer {
  Scalar* data;
  bool is_new;
};

/// Names a tensor whose values a backward closure will read, if `when` holds: those of mul's a, if b needs a gradient.
struct Read {
  const Tensor& tensor;
  bool when = true;
};

/// A tensor's place in the graph. A leaf (parameter) has no inputs and keeps its gradient; an op's node is freed by
/// backward() once used. Two backward() at the same time must not share any node, not even a leaf, which both would add
/// to: that is what parallel_backward is for.
struct Node : std::enable_shared_from_this<Node> {
  Node(const char* op, const Shape& shape, bool leaf = false);
  virtual ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  /// Adds this node's part to the gradients of its inputs.
  virtual void run_backward() {}
  /// Drops what the closure captured.
  virtual void free_closure() {}
  /// Notes how often the tensor's values have been written.
  void remember(const Tensor& read);
  /// Throws std::invalid_argument if they have been written since, or if freed or walked is set: backward() would go
  /// wrong.
  void require_usable() const;
  /// Drops the closure, the gradient and the inputs, which get a new owner.
  void free(std::vector<std::shared_ptr<Node>>& new_owner);

  /// The gradient, ready to be added to or, if new, written.
  GradientBuffer gradient_buffer();
  /// Where the gradient is kept: in `grad`; but inside parallel_backward each part of the batch has its own for leaves
  /// (core/parallel_backward.cpp).
  Storage& gradient_slot();

  const char* const op;
  const Shape shape;
  const bool leaf;
  std::vector<std::shared_ptr<Node>> inputs;  // null where an input needs no gradient
  Storage grad;                               // dL/d(this), empty until something has arrived
  std::string name;                           // a module's parameter has one
  uint64_t visit = 0;                         // the last walk over the graph that came by
  bool walked = false;                        // a backward() that has not returned is still to use it, or is using it
  bool freed = false;
  /// How many were made before it, by all threads: an op's has a higher number than those of its inputs.
  const int64_t number;

 private:
  struct Saved {
    Storage values;
    int64_t writes;
    Shape shape;
    std::shared_ptr<const Node> parameter;  // if it is one
  };
  std::vector<Saved> saved_;
};

/// What a backward closure sees: dL/d(output), and ways to add to dL/d(input i). The usual way is a formula:
///
///   g.add(i, f)               dL/d(input i)[k] += f(k) for every element k
///   g.add(i, values)          += an array that had to be computed anyway. The first to arrive is kept: it is
///                             copied only if somebody else holds it too
///   g.add_output_gradient(i)  += dL/d(output), unchanged, as for a + b. The first to arrive is shared, not copied
///
/// These three do nothing if input i needs no gradient, and throw if there are not as many numbers as in input i. A
/// kernel that does the adding itself asks for the memory. It asks wants(i) first if there are several inputs, for
/// these throw if input i needs no gradient:
///
///   g.buffer(i)               a Scalar* to what has arrived so far; at first, to zeros
///   g.raw_buffer(i)           the same without the cost of writing zeros: {data, is_new}; if is_new, overwrite
class Gradients {
 public:
  explicit Gradients(Node& node) : out(node.grad.data()), node_(node) {}

  /// dL/d(output), in the output's shape.
  const Scalar* const out;

  /// Does input i need a gradient?
  bool wants(int i) const {
    const auto count = static_cast<int>(node_.inputs.size());
    require(i >= 0 && i < count, node_.op, "there is no input ", i, " among ", count);
    return node_.inputs[i] != nullptr;
  }

  template <std::invocable<int64_t> F>
  void add(int i, F f) const {
    if (!wants(i)) return;
    const auto [grad, is_new] = raw_buffer(i);
    parallel_for(node_.inputs[i]->shape.numel(), [grad = grad, is_new = is_new, f](int64_t begin, int64_t end) {
      if (is_new) {
#pragma omp simd
        for (int64_t k = begin; k < end; ++k) grad[k] = f(k);
      } else {
#pragma omp simd
        for (int64_t k = begin; k < end; ++k) grad[k] += f(k);
      }
    });
  }
  void add(int i, const Storage& values) const;
  void add_output_gradient(int i) const;

  Scalar* buffer(int i) const;
  GradientBuffer raw_buffer(int i) const;

 private:
  Node& node_;
};

/// Is this a parameter that a module has registered? Its node has a name then, and it lives as long as the module.
inline bool is_registered(const Tensor& t) { return t.is_parameter() && !t.node()->name.empty(); }

/// False inside a NoGrad scope.
bool grad_enabled();

/// Is a backward() running on this thread, around this call? What a layer computes there it computes again, for a
/// checkpoint that kept nothing: it must not count it twice, as a batch norm would in its running mean.
bool inside_backward();

/// While one lives, ops on this thread record, or do not. Other threads, also those that this one starts, go on as they
/// did, but for parallel_backward's.
class GradMode {
 public:
  explicit GradMode(bool record);
  ~GradMode();
  GradMode(const GradMode&) = delete;
  GradMode& operator=(const GradMode&) = delete;

 private:
  bool previous_;
};
/// Ops record nothing: inference without the memory of training.
struct NoGrad : GradMode {
  [[nodiscard]] NoGrad() : GradMode(false) {}
};
/// Ops record, also within a NoGrad: for what makes a graph of its own, wherever it is called.
struct EnableGrad : GradMode {
  [[nodiscard]] EnableGrad() : GradMode(true) {}
};

namespace detail {
template <class Backward>
struct OpNode final : Node {
  OpNode(const char* op_name, const Shape& sizes, Backward f) : Node(op_name, sizes), closure(std::move(f)) {}
  void run_backward() override { (*closure)(Gradients(*this)); }
  void free_closure() override { closure.reset(); }
  std::optional<Backward> closure;
};
}  // namespace detail

/// Makes `out` the differentiable result of `op` on `inputs`. `backward` is called with Gradients, whose input i
/// is inputs[i]. It captures storage and sizes one by one, never a Tensor: a closure that held its own output's
/// node would keep the graph alive for ever. `reads` are the tensors whose values it uses; backward() refuses if one was
/// written after this call. Returns `out`. Throws if `out` is in a graph already, as an input that
/// is returned as it came would be; return input.detach() then.
template <class Backward>
Tensor record(const char* op, Tensor out, std::span<const std::reference_wrapper<const Tensor>> inputs,
              Backward backward, std::initializer_list<Read> reads) {
  detail::check_result(op, out, inputs);
  if (!grad_enabled()) return out;
  if (std::none_of(inputs.begin(), inputs.end(), [](const Tensor& t) { return t.needs_grad(); })) return out;
  require(!out.needs_grad(), op, "its result is in a graph already: detach() it first");
  auto node = std::make_shared<detail::OpNode<Backward>>(op, out.shape(), std::move(backward));
  node->inputs.reserve(inputs.size());
  for (const Tensor& input : inputs) node->inputs.push_back(input.defined() ? input.node() : nullptr);
  for (const Read& read : reads)
    if (read.when && read.tensor.defined()) node->remember(read.tensor);
  out.set_node(std::move(node));
  return out;
}
template <class Backward>
Tensor record(const char* op, Tensor out, std::initializer_list<std::reference_wrapper<const Tensor>> inputs,
              Backward backward, std::initializer_list<Read> reads) {
  return record(op, std::move(out), std::span(inputs.begin(), inputs.size()), std::move(backward), reads);
}
/// The same for a closure that may read all inputs and the result.
template <class Backward>
Tensor record(const char* op, Tensor out, std::initializer_list<std::reference_wrapper<const Tensor>> inputs,
              Backward backward) {
  Tensor result = record(op, std::move(out), inputs, std::move(backward), {});
  if (!result.needs_grad() || !grad_enabled()) return result;
  for (const Tensor& input : inputs)
    if (input.defined()) result.node()->remember(input);
  result.node()->remember(result.detach());
  return result;
}

/// The graph behind `result` as a DOT file: a box for each op and leaf with its shape, arrows along the data.
/// (core/graphviz.cpp)
std::string graphviz(const Tensor& result);

/// Nodes made so far by all threads, leaves included: those made from now on have this number or a higher one.
int64_t nodes_made();
/// Nodes alive on all threads, leaves included. For tests: training must not leak any.
int64_t live_nodes();

}  // namespace difftensor::inline DT_PRECISION
