#include "core/autograd.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <unordered_map>

#include "core/kernels/gemm.h"

namespace difftensor::inline DT_PRECISION {
namespace {
thread_local uint64_t nodes_made = 0;
thread_local uint64_t walks = 0;
thread_local bool recording = true;
thread_local bool anomaly_checks = false;
std::atomic<int64_t> nodes_alive = 0;

// Inside parallel_backward: the gradients that this thread's part of the batch leaves in leaves.
using LeafGradients = std::unordered_map<Node*, Storage>;
thread_local LeafGradients* part_gradients = nullptr;

// Every op's node that `root` depends on, each once, with an explicit list: graphs are far deeper than call stacks.
// Leaves are left out. They have nothing to run, and other threads may be looking at them.
std::vector<Node*> reachable(Node* root) {
  const uint64_t walk = ++walks;
  std::vector<Node*> found{root};
  root->visit = walk;
  for (size_t next = 0; next < found.size(); ++next)
    for (auto& input : found[next]->inputs)
      if (input && !input->leaf && input->visit != walk) {
        input->visit = walk;
        found.push_back(input.get());
      }
  return found;
}

bool all_finite(const Scalar* data, int64_t n) {
  return std::all_of(data, data + n, [](Scalar x) { return std::isfinite(x); });
}
}  // namespace

Node::Node(const char* op, const Shape& shape, bool leaf) : number(++nodes_made), op(op), shape(shape), leaf(leaf) {
  nodes_alive.fetch_add(1, std::memory_order_relaxed);
}

Node::~Node() {
  nodes_alive.fetch_sub(1, std::memory_order_relaxed);
  // Destroying a node may leave its inputs without an owner, theirs after them, and so on. Recursion would overflow
  // the stack on a long chain; so the outermost destructor works through a list that the inner ones only append to.
  thread_local std::vector<std::shared_ptr<Node>>* orphans = nullptr;
  if (inputs.empty()) return;
  if (orphans) {
    for (auto& input : inputs) orphans->push_back(std::move(input));
    return;
  }
  std::vector<std::shared_ptr<Node>> list = std::move(inputs);
  orphans = &list;
  while (!list.empty()) {
    auto node = std::move(list.back());
    list.pop_back();
    node.reset();  // may run ~Node, which appends to the list
  }
  orphans = nullptr;
}

Storage& Node::gradient_slot() { return leaf && part_gradients ? (*part_gradients)[this] : grad; }

Scalar* Node::gradient(Scalar& beta) {
  Storage& slot = gradient_slot();
  beta = slot ? 1 : 0;
  if (!slot) {
    slot = Storage(shape.numel());
  } else if (!slot.unique()) {  // shared by Gradients::pass: copy before writing
    Storage own(slot.size());
    std::copy_n(slot.data(), slot.size(), own.data());
    slot = own;
  }
  return slot.data();
}

void Gradients::give(int i, const Storage& values) const {
  if (!wants(i)) return;
  Storage& slot = node_.inputs[i]->gradient_slot();
  if (slot)
    add(i, [v = values.data()](int64_t k) { return v[k]; });
  else
    slot = values;
}

void Gradients::pass(int i) const {
  if (!wants(i)) return;
  Node& input = *node_.inputs[i];
  if (!input.leaf && !input.grad)  // a leaf gets a buffer of its own: its owner may write there
    input.grad = node_.grad;
  else
    add(i, [dy = out](int64_t k) { return dy[k]; });
}

void parallel_backward(int64_t n, const std::function<void(int64_t)>& f) {
  require(!part_gradients, "parallel_backward", "is running already, around this call");
  std::exception_ptr error;
  int64_t failed = n;  // the first part that threw
  const bool checks = anomaly_checks, records = recording;
  kernels::PackedWeights weights;
#pragma omp parallel for ordered schedule(dynamic, 1)
  for (int64_t i = 0; i < n; ++i) {
    LeafGradients gradients;
    const bool own_checks = std::exchange(anomaly_checks, checks), own_records = std::exchange(recording, records);
    const Random own_random = default_random();
    const auto keep_error = [&] {
#pragma omp critical(difftensor_error)
      if (i < failed) failed = i, error = std::current_exception();
    };
    part_gradients = &gradients;
    try {
      const kernels::PackedWeights::Scope scope(weights);
      f(i);
    } catch (...) {
      keep_error();
    }
    part_gradients = nullptr;
    anomaly_checks = own_checks, recording = own_records, default_random() = own_random;
#pragma omp ordered
    try {
      for (auto& [leaf, part] : gradients) {
        if (!leaf->grad) {
          leaf->grad = part;
          continue;
        }
        Scalar beta;
        Scalar* sum = leaf->gradient(beta);
#pragma omp simd
        for (int64_t k = 0; k < part.size(); ++k) sum[k] += part.data()[k];
      }
    } catch (...) {
      keep_error();
    }
  }
  if (error) std::rethrow_exception(error);
}

bool grad_enabled() { return recording; }
NoGrad::NoGrad() : previous_(std::exchange(recording, false)) {}
NoGrad::~NoGrad() { recording = previous_; }
DetectAnomaly::DetectAnomaly() : previous_(std::exchange(anomaly_checks, true)) {}
DetectAnomaly::~DetectAnomaly() { anomaly_checks = previous_; }
int64_t live_nodes() { return nodes_alive; }

void detail::check_finite(const char* op, const Tensor& out) {
  if (!anomaly_checks || op == std::string_view("masked_fill") || all_finite(out.data(), out.numel())) return;
  std::ostringstream text;
  text << op << ": NaN or infinity in its result of shape " << out.shape();
  throw std::runtime_error(text.str());
}

void Tensor::backward() const {
  require(numel() == 1, "backward", "a result of shape ", shape(), " is not a scalar and needs a seed: backward(seed)");
  backward(ones(shape()));
}

void Tensor::backward(const Tensor& seed) const {
  require(needs_grad(), "backward", "nothing this result depends on requires a gradient");
  require(seed.shape() == shape(), "backward", "seed of shape ", seed.shape(), " for a result of shape ", shape());
  std::vector<Node*> nodes = reachable(node().get());
  for (Node* n : nodes)
    require(!n->freed, "backward", "the graph through ", n->op, " ", n->shape,
            " was freed by an earlier backward(); run the forward pass again");
  std::sort(nodes.begin(), nodes.end(), [](Node* a, Node* b) { return a->number > b->number; });

  Scalar beta;
  Scalar* grad = node()->gradient(beta);
  if (beta == 0) std::fill_n(grad, numel(), Scalar{0});
#pragma omp simd
  for (int64_t i = 0; i < numel(); ++i) grad[i] += seed.data()[i];

  // A node may be the only owner of its inputs. They are kept until the walk is over, so that `nodes` stays valid.
  std::vector<std::shared_ptr<Node>> keep;
  keep.reserve(nodes.size());
  try {
    for (Node* n : nodes) {
      if (n->leaf) continue;  // the root may be one
      if (n->grad) n->run_backward();
      if (anomaly_checks)
        for (auto& input : n->inputs)
          if (const Storage grad = input ? input->gradient_slot() : Storage(); !all_finite(grad.data(), grad.size())) {
            std::ostringstream text;
            text << n->op << ": NaN or infinity in the gradient of its input of shape " << input->shape;
            throw std::runtime_error(text.str());
          }
      n->free_closure();
      n->grad = {};
      n->freed = true;
      for (auto& input : n->inputs)
        if (input) keep.push_back(std::move(input));
      n->inputs.clear();
    }
  } catch (...) {  // what is left holds parts of gradients: nobody may go through it again
    for (Node* n : nodes)
      if (!n->leaf) n->grad = {}, n->freed = true;
    throw;
  }
}

std::string graphviz(const Tensor& result) {
  require(result.needs_grad(), "graphviz", "this result has no graph");
  std::vector<Node*> nodes = reachable(result.node().get());
  for (size_t i = 0, ops = nodes.size(); i < ops; ++i)
    for (auto& input : nodes[i]->inputs)
      if (input && input->leaf && std::find(nodes.begin(), nodes.end(), input.get()) == nodes.end())
        nodes.push_back(input.get());
  std::sort(nodes.begin(), nodes.end(), [](Node* a, Node* b) { return a->number < b->number; });
  std::unordered_map<const Node*, size_t> place;  // numbers are a thread's own: leaves of two threads may share one
  for (size_t i = 0; i < nodes.size(); ++i) place[nodes[i]] = i + 1;
  std::ostringstream dot;
  dot << "digraph {\n  rankdir=LR; node [shape=box, style=rounded, fontname=\"sans-serif\"];\n";
  for (Node* n : nodes) {
    dot << "  n" << place[n] << " [label=\"" << n->op << "\\n"
        << n->shape << "\"" << (n->leaf ? ", style=filled" : "") << "];\n";
    for (auto& input : n->inputs)
      if (input) dot << "  n" << place[input.get()] << " -> n" << place[n] << ";\n";
  }
  dot << "}\n";
  return dot.str();
}

}  // namespace difftensor::inline DT_PRECISION
