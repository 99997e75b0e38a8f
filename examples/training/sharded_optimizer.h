#pragma once
// The gradient and the step of an update, shared out among ranks.
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/parallel_backward.h"
#include "examples/training/ranks.h"
#include "optim/optimizer.h"

namespace training {

/// An optimizer that works on each element by itself, such as AdamW, on one rank or on several (ranks.h).
///
///     parts        rank 0: 0 to 7       rank 1: 8 to 15     ...   each adds the gradients of its parts
///                        \    /    \    /                           partial sums go to the ranks that own the elements
///     parameters   rank 0: the first     rank 1: the next   ...   each adds what came, and updates its elements
///                        \    /    \    /                           new parameters go to all
///
/// So each rank has the optimizer's state of its elements alone (ZeRO, Rajbhandari et al. 2020, stage 1). Gradients are
/// added in the order of core/parallel_backward.h, squares in that of optim/clip.h: parameters have the same bits with
/// any number of ranks, each of any number of threads, as long as their CPUs round alike.
class ShardedOptimizer {
 public:
  using Make = std::function<std::unique_ptr<difftensor::optim::Optimizer>(std::vector<difftensor::Tensor>)>;
  /// `make` gives the optimizer of some parameters.
  ShardedOptimizer(std::vector<difftensor::Tensor> parameters, const Make& make);

  /// Together: the gradients of all parts, each f(i) called on the rank that share_sum would call it on. See
  /// parallel_backward.
  void backward(int64_t parts, const std::function<void(int64_t)>& f);
  /// Together: see optim::clip_grad_norm.
  double clip_grad_norm(double max_norm);
  /// Together: updates all parameters, and forgets the gradients.
  void step(double lr);

  double lr() const { return optimizer_->lr(); }
  /// Together: as Optimizer::state_dict, complete on rank 0; the other ranks get nothing.
  std::map<std::string, difftensor::Tensor> state_dict() const;
  /// Each rank takes what is its own of the complete state. Throws as Optimizer::load_state_dict does.
  void load_state_dict(const std::map<std::string, difftensor::Tensor>& state);

 private:
  /// Elements of one parameter that one rank owns.
  struct Shard {
    int rank;
    size_t parameter;
    int64_t begin, end;
    difftensor::Tensor values;  ///< if it is this rank's: the parameter, or a copy of these elements
  };
  struct Plan;
  struct ShardSums;
  void add_gradients(int64_t parts, difftensor::PartialSums sums);
  ShardSums exchange(const Plan& plan, const difftensor::PartialSums& sums, int64_t parts) const;
  std::vector<const Shard*> shards_of(int rank) const;

  const std::vector<difftensor::Tensor> parameters_;
  std::vector<Shard> shards_;                                // of all ranks, in the order of elements
  std::unique_ptr<difftensor::optim::Optimizer> optimizer_;  // of this rank's
};

}  // namespace training
