#include "core/parallel_backward.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <bit>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <utility>

#include "core/autograd.h"
#include "core/kernels/packed_weights.h"

namespace difftensor::inline DT_PRECISION {
namespace {
// All parts share the parameters' nodes, and may want to write to one gradient at the same time. So while a part runs,
// its thread keeps the leaves' gradients here, and not in the nodes; the part's turn to be added comes later.
thread_local LeafGradients* part_gradients = nullptr;
}  // namespace

// Every access to a gradient goes through here.
Storage& Node::gradient_slot() {
  if (!leaf || !part_gradients) return grad;
  const auto found = part_gradients->find(this);
  return found != part_gradients->end() ? found->second : (*part_gradients)[shared_from_this()];
}

bool inside_parallel_backward() { return part_gradients != nullptr; }

namespace {

// Runs one part, on whatever thread: under the caller's scopes, with gradients of its own. Leaves the thread as it was.
LeafGradients run_part(const std::function<void()>& part, bool record, bool check, kernels::PackedWeights& weights,
                       double& packing) {
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
  packing = scope.seconds;
  // What was made and forgotten: a gradient, or a leaf that nobody but this table knows any more.
  std::erase_if(gradients, [](const auto& entry) { return !entry.second || entry.first.use_count() == 1; });
  return gradients;
}

// A call. A thread that is free does what there is to do: it adds gradients that are ready, or else runs the next part.
//
//     part 0   part 1   part 2   part 3        each by one thread, in any order
//       |        |        |        |
//       v        v        v        v
//     slice 0: (0 + 1) + (2 + 3)               each slice of all gradients by one thread at a time: all threads may add
//     slice 1: (0 + 1) + (2 + 3)               at once, and every element is added in one order. Slices are long
//                                              stretches of the gradients, which memory delivers fastest
//
// A sum is kept where its first part's gradients were. No part begins before all is added that can be without those less
// than `threads` ahead of it. So there are never more gradients than threads, and one for each level of the tree.
class Pass {
 public:
  Pass(int64_t n, int64_t begin, int64_t end, const std::function<void(int64_t)>& f, int threads)
      : f_(f),
        threads_(threads),
        begin_(begin),
        count_(end - begin),
        parts_(count_),
        additions_before_(count_ + 1),
        seconds_(count_) {
    for (const Addition& a : additions(n))
      if (a.is_within(begin, end)) {
        additions_.push_back({a.to - begin, a.from - begin, {}});
        ++additions_before_[a.end - begin];
      }
    for (int64_t i = 0; i < count_; ++i) additions_before_[i + 1] += additions_before_[i];
  }

  // What every thread does, until all is done.
  void work() {
    std::unique_lock lock(mutex_);
    while (settled_ < count_) {
      const double start = omp_get_wtime();
      if (Slice* slice = slice_to_add()) {
        const int64_t end = additions_before_[opened_];
        slice->busy = true;
        lock.unlock();
        for (int64_t i = slice->next; i < end; ++i) add(*slice, additions_[i].summands);
        lock.lock();
        slice->busy = false, slice->next = end;
        free_summands();
        adding_ += omp_get_wtime() - start;
      } else if (begun_ < count_ && begun_ - settled_ < threads_) {
        const int64_t i = begun_++;
        lock.unlock();
        Part part = run(i);
        lock.lock();
        parts_[i] = std::move(part);
        open_parts();
        seconds_[i] = omp_get_wtime() - start - parts_[i].packing;
        packing_ += parts_[i].packing;
      } else {
        changed_.wait(lock);
        waiting_ += omp_get_wtime() - start;
        continue;
      }
      changed_.notify_all();
    }
  }

  // The sums, once all is done.
  PartialSums sums() {
    PartialSums sums;
    for (int64_t i = 0; i < count_; ++i) {
      if (parts_[i].error) std::rethrow_exception(parts_[i].error);
      if (!parts_[i].gradients.empty()) sums[begin_ + i] = std::move(parts_[i].gradients);
    }
    return sums;
  }
  PassTimes times() { return {std::move(seconds_), packing_, adding_, waiting_}; }

 private:
  struct Part {
    bool ready = false;       // to be added as soon as those before it are
    LeafGradients gradients;  // its own; then the sum that begins with it
    std::exception_ptr error;
    double packing = 0;  // seconds
  };
  struct Summand {
    Scalar* sum;  // a leaf's gradient
    Storage values;
    int64_t first_stretch;
  };
  struct PartAddition {
    int64_t to, from;               // parts
    std::vector<Summand> summands;  // for each leaf, once these are there
  };
  struct Slice {
    int64_t next = 0;  // the addition to make
    bool busy = false;
  };

  Slice* slice_to_add() {
    for (Slice& slice : slices_)
      if (!slice.busy && slice.next < additions_before_[opened_]) return &slice;
    return nullptr;
  }

  Part run(int64_t i) {
    Part part;
    part.ready = true;
    try {
      part.gradients = run_part([&] { f_(begin_ + i); }, record_, check_, weights_, part.packing);
    } catch (...) {
      part.error = std::current_exception();
    }
    return part;
  }

  void open_parts() {
    for (; opened_ < count_ && parts_[opened_].ready; ++opened_)
      for (int64_t i = additions_before_[opened_]; i < additions_before_[opened_ + 1]; ++i) try {
          open_addition(additions_[i]);
        } catch (...) {
          parts_[opened_].error = std::current_exception();
        }
    free_summands();  // a part may have none
  }

  // Finds the gradients to add, and where. A leaf that one side alone has a gradient of needs no addition.
  void open_addition(PartAddition& addition) {
    LeafGradients& sums = parts_[addition.to].gradients;
    for (auto& [leaf, gradient] : parts_[addition.from].gradients) {
      const auto [found, is_new] = sums.try_emplace(leaf);
      Storage& sum = found->second;
      if (is_new) {
        sum = std::move(gradient);
        continue;
      }
      sum.unshare();  // nobody is writing yet
      const auto [first_stretch, unseen] = first_stretches_.try_emplace(leaf.get(), stretches_);
      if (unseen) stretches_ += (gradient.size() + stretch - 1) / stretch;
      addition.summands.push_back({sum.data(), std::move(gradient), first_stretch->second});
    }
    parts_[addition.from].gradients.clear();
  }

  // Stretch i is the slice's if i mod (number of slices) is its index.
  void add(const Slice& slice, const std::vector<Summand>& summands) const {
    const int64_t index = &slice - slices_.data(), count = static_cast<int64_t>(slices_.size());
    for (const Summand& s : summands) {
      const int64_t skipped = (index + count - s.first_stretch % count) % count;
      for (int64_t begin = skipped * stretch; begin < s.values.size(); begin += count * stretch) {
        const int64_t end = std::min(begin + stretch, s.values.size());
        const Scalar* summand = s.values.data();
        Scalar* sum = s.sum;
#pragma omp simd
        for (int64_t k = begin; k < end; ++k) sum[k] += summand[k];
      }
    }
  }

  void free_summands() {
    const auto least = [](const Slice& a, const Slice& b) { return a.next < b.next; };
    for (const int64_t end = std::min_element(slices_.begin(), slices_.end(), least)->next; added_ < end; ++added_)
      additions_[added_].summands = {};
    while (settled_ < opened_ && additions_before_[settled_ + 1] <= added_) ++settled_;
  }

  const std::function<void(int64_t)>& f_;
  const int threads_;
  const int64_t begin_, count_;  // of the parts
  const bool record_ = grad_enabled(), check_ = detects_anomaly();
  kernels::PackedWeights weights_;

  std::mutex mutex_;  // of all that follows
  std::condition_variable changed_;
  std::vector<Part> parts_;
  std::vector<PartAddition> additions_;
  std::vector<int64_t> additions_before_;  // how many can be made when so many parts are there
  std::array<Slice, 32> slices_;
  static constexpr int64_t stretch = 32768;             // numbers
  std::unordered_map<Node*, int64_t> first_stretches_;  // of each leaf; its others follow
  int64_t stretches_ = 0;
  int64_t begun_ = 0, opened_ = 0, settled_ = 0;  // so many parts; all that can be added of the settled ones is
  int64_t added_ = 0;                             // so many additions
  std::vector<double> seconds_;
  double packing_ = 0, adding_ = 0, waiting_ = 0;
};

PartialSums run(int64_t n, int64_t begin, int64_t end, const std::function<void(int64_t)>& f, PassTimes& times) {
  require(!inside_parallel_backward(), "parallel_backward", "is running already, around this call");
  // A single part has all threads inside its ops.
  const int threads = static_cast<int>(std::clamp<int64_t>(end - begin, 1, omp_get_max_threads()));
  Pass pass(n, begin, end, f, threads);
  if (threads == 1) {  // not as a team of one, in which every op would call for a team of its own
    pass.work();
  } else {
#pragma omp parallel num_threads(threads)
    pass.work();
  }
  PartialSums sums = pass.sums();
  times = pass.times();
  return sums;
}

// Adds [begin, end) to the list.
void add_in_halves(int64_t begin, int64_t end, std::vector<Addition>& list) {
  if (end - begin < 2) return;
  const auto middle = begin + static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(end - begin - 1)));
  add_in_halves(begin, middle, list), add_in_halves(middle, end, list);
  list.push_back({begin, middle, end});
}

}  // namespace

std::vector<Addition> additions(int64_t n) {
  std::vector<Addition> list;
  add_in_halves(0, n, list);
  return list;
}

PassTimes parallel_backward(int64_t n, const std::function<void(int64_t)>& f) {
  PassTimes times;
  PartialSums sums = run(n, 0, n, f, times);
  if (sums.empty()) return times;
  for (auto& [leaf, gradient] : sums.begin()->second)
    if (leaf->grad)
      parallel_for(gradient.size(), [sum = leaf->gradient_buffer().data, g = std::as_const(gradient).data()](
                                        int64_t begin, int64_t end) {
#pragma omp simd
        for (int64_t k = begin; k < end; ++k) sum[k] += g[k];
      });
    else
      leaf->grad = std::move(gradient);
  return times;
}

PartialSums partial_backward(int64_t n, int64_t begin, int64_t end, const std::function<void(int64_t)>& f) {
  require(0 <= begin && begin <= end && end <= n, "partial_backward", "parts [", begin, ", ", end, ") of ", n);
  PassTimes times;
  return run(n, begin, end, f, times);
}

}  // namespace difftensor::inline DT_PRECISION
