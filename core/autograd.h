#pragma once
// Reverse-mode automatic differentiation.
//
// Every op computes its result at once and, if any input needs a gradient, hangs a Node on it: which nodes it was
// made from, and a closure that turns dL/d(output) into dL/d(inputs). The nodes form a directed acyclic graph that
// grows as the program runs. backward() then walks it from the loss, newest node first. An op's inputs are always
// older than the op, so when a node's turn comes, everything that uses it has already added its share of the gradient:
//
//     x ----> mul ----> sum ----> L          forward: left to right, numbers 1, 2, 3, ...
//     w ----/                                backward: right to left, dL/dL = 1, then the chain rule
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/kernels/parallel.h"
#include "core/tensor.h"

namespace difftensor::inline DT_PRECISION {

/// A tensor's place in the graph. A leaf (parameter) has no inputs and keeps its gradient; an op's node is freed by
/// backward() once used. A graph belongs to the thread that built it.
struct Node {
  Node(const char* op, const Shape& shape, bool leaf = false);
  virtual ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  /// Adds this node's share to the gradients of its inputs.
  virtual void run_backward() {}
  /// Drops what the closure captured.
  virtual void free_closure() {}

  /// The gradient buffer, ready to be added to. `beta` is 0 if it is new and its content undefined, else 1:
  /// as in C = alpha A B + beta C.
  Scalar* gradient(Scalar& beta);
  /// Where that buffer is: `grad`; but a leaf's is the running shard's own, inside parallel_backward.
  Storage& gradient_slot();

  const uint64_t number;  // creation order on this thread
  const char* const op;
  const Shape shape;
  const bool leaf;
  std::vector<std::shared_ptr<Node>> inputs;  // null where an input needs no gradient
  Storage grad;                               // dL/d(this), empty until something has arrived
  uint64_t visit = 0;                         // the last walk over the graph that came by
  bool freed = false;
};

/// What a backward closure sees: dL/d(output), and the gradient buffers of the inputs to add to.
class Gradients {
 public:
  explicit Gradients(Node& node) : out(node.grad.data()), node_(node) {}

  /// dL/d(output), in the output's shape.
  const Scalar* const out;

  /// Does input i need a gradient?
  bool wants(int i) const { return node_.inputs[i] != nullptr; }

  /// dL/d(input i) so far, to be added to; zeros at first. Throws if the input needs no gradient: ask wants(i) where
  /// there are several.
  Scalar* in(int i) const {
    Scalar beta;
    Scalar* grad = in(i, beta);
    if (beta == 0)
      parallel_for(node_.inputs[i]->shape.numel(),
                   [grad](int64_t begin, int64_t end) { std::fill(grad + begin, grad + end, Scalar{0}); });
    return grad;
  }
  /// The same without the zeros: beta = 0 says that the content is undefined and must be overwritten.
  Scalar* in(int i, Scalar& beta) const {
    require(wants(i), node_.op, "the gradient of input ", i, " is asked for, which needs none: see wants()");
    return node_.inputs[i]->gradient(beta);
  }

  /// dL/d(input i)[k] += f(k) for every element k; nothing if input i needs no gradient.
  template <class F>
  void add(int i, F f) const {
    if (!wants(i)) return;
    Scalar beta;
    Scalar* grad = in(i, beta);
    parallel_for(node_.inputs[i]->shape.numel(), [=](int64_t begin, int64_t end) {
      if (beta == 0) {
#pragma omp simd
        for (int64_t k = begin; k < end; ++k) grad[k] = f(k);
      } else {
#pragma omp simd
        for (int64_t k = begin; k < end; ++k) grad[k] += f(k);
      }
    });
  }

  /// dL/d(input i) += values, which may be kept as the gradient's buffer: nobody else may use them any more.
  void give(int i, const Storage& values) const;

  /// dL/d(input i) += dL/d(output), elementwise. The first to arrive at an op's node shares the buffer
  /// and copies nothing.
  void pass(int i) const;

 private:
  Node& node_;
};

/// Calls f(i) for every i in [0, n), several at once on as many threads as OpenMP has. Each call builds a graph of its
/// own over the same parameters and calls backward() on it; what that leaves in the parameters' grad() is added up in
/// the order of i, so the sums have the same bits with any number of threads. This is how a batch is shared out: the
/// threads meet once for each part of the batch, not in every op, and a part's activations stay in its core's cache.
/// Weights are brought into the order of products once for all calls: f must not write to parameters.
///
/// Within f, a parameter's grad() is what this call has made. default_random() belongs to the thread: an f that draws
/// from it seeds it first, by i; afterwards it is as it was. What f throws is thrown again here; gradients are then
/// undefined.
void parallel_backward(int64_t n, const std::function<void(int64_t)>& f);

/// False inside a NoGrad scope.
bool grad_enabled();

/// While one lives, ops on this thread record nothing: inference without the memory of training.
class NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  bool previous_;
};

/// While one lives, every op's result, and every gradient that backward() makes on this thread, is searched for NaN and
/// infinity; the first throws std::runtime_error naming the op and the shape. (An infinity that masked_fill wrote is
/// taken to be meant.) Slow: for finding a fault, not for training.
class DetectAnomaly {
 public:
  DetectAnomaly();
  ~DetectAnomaly();
  DetectAnomaly(const DetectAnomaly&) = delete;
  DetectAnomaly& operator=(const DetectAnomaly&) = delete;

 private:
  bool previous_;
};

namespace detail {
template <class Backward>
struct OpNode final : Node {
  OpNode(const char* op, const Shape& shape, Backward f) : Node(op, shape), closure(std::move(f)) {}
  void run_backward() override { (*closure)(Gradients(*this)); }
  void free_closure() override { closure.reset(); }
  std::optional<Backward> closure;
};
void check_finite(const char* op, const Tensor& out);  // only under DetectAnomaly
}  // namespace detail

/// Makes `out` the differentiable result of `op` on `inputs`. `backward` is called with Gradients in which in(i)
/// belongs to inputs[i]. It captures storage and sizes one by one, never a Tensor: a closure that held its own output's
/// node would keep the graph alive for ever. Returns `out`. Throws if `out` has a place in a graph already, as an input
/// itself would; input.detach() has not.
template <class Backward>
Tensor record(const char* op, Tensor out, std::span<const std::reference_wrapper<const Tensor>> inputs,
              Backward backward) {
  detail::check_finite(op, out);
  if (!grad_enabled()) return out;
  if (std::none_of(inputs.begin(), inputs.end(), [](const Tensor& t) { return t.needs_grad(); })) return out;
  require(!out.needs_grad(), op, "its result is in a graph already: detach() it first");
  auto node = std::make_shared<detail::OpNode<Backward>>(op, out.shape(), std::move(backward));
  node->inputs.reserve(inputs.size());
  for (const Tensor& input : inputs) node->inputs.push_back(input.defined() ? input.node() : nullptr);
  out.set_node(std::move(node));
  return out;
}
template <class Backward>
Tensor record(const char* op, Tensor out, std::initializer_list<std::reference_wrapper<const Tensor>> inputs,
              Backward backward) {
  return record(op, std::move(out), std::span(inputs.begin(), inputs.size()), std::move(backward));
}

/// The graph behind `result` as a DOT file: a box for each op and leaf with its shape, arrows along the data.
std::string graphviz(const Tensor& result);

/// Nodes alive on all threads, leaves included. For tests: training must not leak any.
int64_t live_nodes();

}  // namespace difftensor::inline DT_PRECISION
