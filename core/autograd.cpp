#include "core/autograd.h"

#include <algorithm>
#include <atomic>

namespace difftensor::inline DT_PRECISION {
namespace {
thread_local bool walking = false;

// The root and every op's node it depends on, each before its inputs. Throws, having changed nothing, if one was freed,
// is in a walk that goes on, or reads values that were written since. Defined below.
std::vector<Node*> users_first(Node* root);
}  // namespace

void Tensor::backward() const {
  require(numel() == 1, "backward", "a result of shape ", shape(),
          " has not one element and needs a seed: backward(seed)");
  backward(ones(shape()));
}

void Tensor::backward(const Tensor& seed) const {
  require(needs_grad(), "backward",
          "nothing this result depends on requires a gradient (detach(), NoGrad, or all frozen?)");
  require(seed.shape() == shape(), "backward", "seed of shape ", seed.shape(), " for a result of shape ", shape());
  Node* const root = node().get();
  const std::vector<Node*> nodes = users_first(root);

  // dL/d(this) += seed
  const GradientBuffer grad = root->gradient_buffer();
  for (int64_t i = 0; i < numel(); ++i) grad.data[i] = (grad.is_new ? 0 : grad.data[i]) + seed.data()[i];

  // Everything that uses a node comes before it. So when its turn comes, its gradient is complete, and it can pass its
  // part on to its inputs, which are still to come.
  std::vector<std::shared_ptr<Node>> done;  // owns the inputs of freed nodes, so that `nodes` stays valid
  done.reserve(nodes.size());
  struct Walk {
    const bool outer = std::exchange(walking, true);
    ~Walk() { walking = outer; }
  } walk;
  for (Node* n : nodes) n->walked = !n->leaf;
  try {
    for (Node* n : nodes) {
      if (n->leaf) continue;              // only the root can be one
      if (n->grad) n->run_backward();     // none, if no user of its result passed anything on
      detail::check_input_gradients(*n);  // under DetectAnomaly only
      n->free(done);
    }
  } catch (...) {  // what is left holds parts of gradients: nobody may go through it again
    for (Node* n : nodes)
      if (!n->leaf) n->grad = {}, n->walked = false, n->freed = true;
    throw;
  }
}

bool inside_backward() { return walking; }

// --- Nodes -----------------------------------------------------------------------------------------------------------
namespace {
thread_local bool recording = true;
std::atomic<uint64_t> walks = 0;               // of all threads: a graph may be walked by one after the other
std::atomic<int64_t> made = 0, destroyed = 0;  // nodes

// Depth first, inputs from first to last, each node after all it depends on; then turned round. With an explicit stack,
// not by recursion: graphs are far deeper than call stacks. Leaves are left out: they have nothing to run, and other
// threads may be looking at them.
std::vector<Node*> users_first(Node* root) {
  const uint64_t walk = ++walks;
  struct Place {
    Node* node;
    size_t next_input;
  };
  std::vector<Node*> nodes;
  std::vector<Place> path{{root, 0}};
  root->visit = walk;
  root->require_usable();
  while (!path.empty()) {
    auto& [node, next] = path.back();
    if (next == node->inputs.size()) {
      nodes.push_back(node);
      path.pop_back();
    } else if (Node* input = node->inputs[next++].get(); input && !input->leaf && input->visit != walk) {
      input->visit = walk;
      input->require_usable();
      path.push_back({input, 0});
    }
  }
  std::reverse(nodes.begin(), nodes.end());
  return nodes;
}
}  // namespace

Node::Node(const char* op_name, const Shape& sizes, bool is_leaf)
    : op(op_name), shape(sizes), leaf(is_leaf), number(made.fetch_add(1, std::memory_order_relaxed)) {}

void Node::remember(const Tensor& read) {
  saved_.push_back(
      {read.storage(), read.storage().writes(), read.shape(), read.is_parameter() ? read.node() : nullptr});
}

void Node::require_usable() const {
  require(!freed, "backward", "the graph through ", op, " ", shape,
          " was freed by an earlier backward(): run the forward pass again, or call backward() once, of the sum of the "
          "losses");
  require(
      !walked, "backward", "the graph through ", op, " ", shape,
      " is in use by another backward() around this call, whose gradients would come out wrong: an op whose closure "
      "makes a graph of its own makes it from detach()ed tensors and parameters");
  for (auto& [values, writes, its_shape, parameter] : saved_)
    require(
        values.writes() == writes, "backward", op, " ", shape, " reads the values of ",
        parameter ? "parameter " : "a tensor ", parameter && !parameter->name.empty() ? parameter->name + " " : "",
        its_shape,
        ", which were written after the forward pass, as by step(), load_state_dict() or data() of a handle that is "
        "not const; run the forward pass again");
}

GradientBuffer Node::gradient_buffer() {
  Storage& slot = gradient_slot();
  if (!slot) {
    slot = Storage(shape.numel());
    return {slot.data(), true};
  }
  slot.unshare();  // from Gradients::add_output_gradient or a Tensor from grad()
  return {slot.data(), false};
}

void Node::free(std::vector<std::shared_ptr<Node>>& new_owner) {
  free_closure();
  saved_.clear();
  grad = {};
  walked = false;
  freed = true;
  for (auto& input : inputs)
    if (input) new_owner.push_back(std::move(input));
  inputs.clear();
}

Node::~Node() {
  destroyed.fetch_add(1, std::memory_order_relaxed);
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

int64_t nodes_made() { return made; }
int64_t live_nodes() { return made - destroyed; }

// --- What a backward closure calls -----------------------------------------------------------------------------------

Scalar* Gradients::buffer(int i) const {
  const GradientBuffer buffer = raw_buffer(i);
  if (buffer.is_new)
    parallel_for(node_.inputs[i]->shape.numel(),
                 [grad = buffer.data](int64_t begin, int64_t end) { std::fill(grad + begin, grad + end, Scalar{0}); });
  return buffer.data;
}

GradientBuffer Gradients::raw_buffer(int i) const {
  require(wants(i), node_.op, "the gradient of input ", i, " is asked for, which needs none: see wants()");
  return node_.inputs[i]->gradient_buffer();
}

void Gradients::add(int i, const Storage& values) const {
  if (!wants(i)) return;
  const Shape& shape = node_.inputs[i]->shape;
  require(values.size() == shape.numel(), node_.op, values.size(), " values for the gradient of input ", i, " ", shape);
  Storage& slot = node_.inputs[i]->gradient_slot();
  if (!slot && values.unique())
    slot = values;
  else
    add(i, [v = values.data()](int64_t k) { return v[k]; });
}

void Gradients::add_output_gradient(int i) const {
  if (!wants(i)) return;
  Node& input = *node_.inputs[i];
  require(input.shape.numel() == node_.shape.numel(), node_.op, "the gradient of its result ", node_.shape,
          " is not that of input ", i, " ", input.shape);
  if (!input.leaf && !input.grad)  // a leaf gets a buffer of its own: its owner may write there
    input.grad = node_.grad;
  else
    add(i, [dy = out](int64_t k) { return dy[k]; });
}

// --- Inference -------------------------------------------------------------------------------------------------------

bool grad_enabled() { return recording; }
GradMode::GradMode(bool record) : previous_(std::exchange(recording, record)) {}
GradMode::~GradMode() { recording = previous_; }

}  // namespace difftensor::inline DT_PRECISION
