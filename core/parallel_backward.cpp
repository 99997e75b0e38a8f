#include "core/parallel_backward.h"

#include <exception>
#include <optional>
#include <unordered_map>

#include "core/autograd.h"
#include "core/kernels/packed_weights.h"

namespace difftensor::inline DT_PRECISION {
namespace {
// All parts share the parameters' nodes, and may want to write to one gradient at the same time. So while a part runs,
// its thread keeps the leaves' gradients here, and not in the nodes; the part's turn to be added comes later.
using LeafGradients = std::unordered_map<Node*, Storage>;
thread_local LeafGradients* part_gradients = nullptr;
}  // namespace

// Every access to a gradient goes through here.
Storage& Node::gradient_slot() { return leaf && part_gradients ? (*part_gradients)[this] : grad; }

namespace {

// Runs one part, on whatever thread: under the caller's scopes, with gradients of its own. Leaves the thread as it was.
LeafGradients run_part(const std::function<void()>& part, bool record, bool check, kernels::PackedWeights& weights) {
  LeafGradients gradients;
  struct Restore {
    Random random = default_random();
    ~Restore() {
      part_gradients = nullptr;
      default_random() = random;
    }
  } restore;
  std::optional<NoGrad> no_grad;
  std::optional<DetectAnomaly> detect_anomaly;
  if (!record) no_grad.emplace();
  if (check) detect_anomaly.emplace();
  const kernels::PackedWeights::Scope scope(weights);
  part_gradients = &gradients;
  part();
  return gradients;
}

void add_to_leaves(const LeafGradients& gradients) {
  for (auto& [leaf, part] : gradients) {
    if (!leaf->grad) {
      leaf->grad = part;
      continue;
    }
    Scalar* sum = leaf->gradient_buffer().data;
    const Scalar* summand = part.data();
    const int64_t n = part.size();
#pragma omp simd
    for (int64_t k = 0; k < n; ++k) sum[k] += summand[k];
  }
}

}  // namespace

void parallel_backward(int64_t n, const std::function<void(int64_t)>& f) {
  require(!part_gradients, "parallel_backward", "is running already, around this call");
  const bool record = grad_enabled(), check = detects_anomaly();
  kernels::PackedWeights weights;
  std::exception_ptr error;
  int64_t failed = n;  // the first part that threw
  const auto keep_error = [&](int64_t i) {
#pragma omp critical(difftensor_error)
    if (i < failed) failed = i, error = std::current_exception();
  };
  // `ordered`: parts run in any order, but their gradients are added in the order of i.
#pragma omp parallel for ordered schedule(dynamic, 1)
  for (int64_t i = 0; i < n; ++i) {
    LeafGradients gradients;
    try {
      gradients = run_part([&] { f(i); }, record, check, weights);
    } catch (...) {
      keep_error(i);
    }
#pragma omp ordered
    try {
      add_to_leaves(gradients);
    } catch (...) {
      keep_error(i);
    }
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace difftensor::inline DT_PRECISION
