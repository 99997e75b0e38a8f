#include "core/parallel_backward.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <exception>
#include <mutex>
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
  return gradients;
}

// One call of parallel_backward. A thread that is free takes what there is to do: to add gradients that are ready, or
// else to run the next part.
//
//     part 0   part 1   part 2   part 3        each by one thread, in any order
//       |        |        |        |
//       v        v        v        v
//     slice 0: ((0 + 1) + 2) + 3               each slice of all gradients by one thread at a time: all threads may add
//     slice 1: ((0 + 1) + 2) + 3               at once, and every element is added in the order of the parts. Gradients
//                                              are dealt to the slices in long stretches, which memory delivers fastest
//
// No part begins before the one `threads` ahead of it has been added. So there are never more gradients than threads.
class Pass {
 public:
  Pass(int64_t n, const std::function<void(int64_t)>& f, int threads)
      : n_(n), f_(f), threads_(threads), parts_(n), seconds_(n) {}

  // What every thread does, until all is done.
  void work() {
    std::unique_lock lock(mutex_);
    while (added_ < n_) {
      const double start = omp_get_wtime();
      if (Slice* slice = slice_to_add()) {
        const int64_t end = opened_;
        slice->busy = true;
        lock.unlock();
        for (int64_t i = slice->next; i < end; ++i) add(*slice, parts_[i].summands);
        lock.lock();
        slice->busy = false, slice->next = end;
        free_parts();
        adding_ += omp_get_wtime() - start;
      } else if (begun_ < n_ && begun_ - added_ < threads_) {
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

  PassTimes finish() {
    for (const Part& part : parts_)
      if (part.error) std::rethrow_exception(part.error);
    return {std::move(seconds_), packing_, adding_, waiting_};
  }

 private:
  struct Summand {
    Scalar* sum;  // a leaf's gradient
    Storage values;
    int64_t first_stretch;
  };
  struct Part {
    bool ready = false;  // to be added as soon as those before it are
    LeafGradients gradients;
    std::vector<Summand> summands;  // the gradients, once their sums are known
    std::exception_ptr error;
    double packing = 0;  // seconds
  };
  struct Slice {
    int64_t next = 0;  // the part to add
    bool busy = false;
  };

  Slice* slice_to_add() {
    for (Slice& slice : slices_)
      if (!slice.busy && slice.next < opened_) return &slice;
    return nullptr;
  }

  Part run(int64_t i) {
    Part part;
    part.ready = true;
    try {
      part.gradients = run_part([&] { f_(i); }, record_, check_, weights_, part.packing);
    } catch (...) {
      part.error = std::current_exception();
    }
    return part;
  }

  // Finds the sums that the next parts are to be added to. A leaf's first gradient is its sum, without a copy.
  void open_parts() {
    for (; opened_ < n_ && parts_[opened_].ready; ++opened_) {
      Part& part = parts_[opened_];
      try {
        for (auto& [leaf, gradient] : part.gradients) {
          const auto [first_stretch, is_new] = first_stretches_.try_emplace(leaf, stretches_);
          if (is_new) stretches_ += (gradient.size() + stretch - 1) / stretch;
          if (leaf->grad)
            part.summands.push_back({leaf->gradient_buffer().data, std::move(gradient), first_stretch->second});
          else
            leaf->grad = std::move(gradient);
        }
      } catch (...) {
        part.error = std::current_exception();
      }
      part.gradients.clear();
    }
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

  void free_parts() {
    const auto least = [](const Slice& a, const Slice& b) { return a.next < b.next; };
    for (const int64_t end = std::min_element(slices_.begin(), slices_.end(), least)->next; added_ < end; ++added_)
      parts_[added_].summands = {};
  }

  const int64_t n_;
  const std::function<void(int64_t)>& f_;
  const int threads_;
  const bool record_ = grad_enabled(), check_ = detects_anomaly();
  kernels::PackedWeights weights_;

  std::mutex mutex_;  // of all that follows
  std::condition_variable changed_;
  std::vector<Part> parts_;
  std::array<Slice, 32> slices_;
  static constexpr int64_t stretch = 32768;             // numbers
  std::unordered_map<Node*, int64_t> first_stretches_;  // of each leaf; its others follow
  int64_t stretches_ = 0;
  int64_t begun_ = 0, opened_ = 0, added_ = 0;  // so many parts
  std::vector<double> seconds_;
  double packing_ = 0, adding_ = 0, waiting_ = 0;
};

}  // namespace

PassTimes parallel_backward(int64_t n, const std::function<void(int64_t)>& f) {
  require(!part_gradients, "parallel_backward", "is running already, around this call");
  // A single part has all threads inside its ops.
  const int threads = static_cast<int>(std::clamp<int64_t>(n, 1, omp_get_max_threads()));
  Pass pass(n, f, threads);
  if (threads == 1) {  // not as a team of one, in which every op would call for a team of its own
    pass.work();
  } else {
#pragma omp parallel num_threads(threads)
    pass.work();
  }
  return pass.finish();
}

}  // namespace difftensor::inline DT_PRECISION
