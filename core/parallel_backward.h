#pragma once
// Forward and backward passes of a batch's parts, on several threads at once, and the order in which gradients are
// added.
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "core/storage.h"

namespace difftensor::inline DT_PRECISION {

struct Node;

/// Where the time of a parallel_backward went, in seconds.
struct PassTimes {
  std::vector<double> parts;        ///< each f(i), without packing
  double packing, adding, waiting;  ///< weights, gradients, for something to do: of all threads together
};

/// Calls f(i) for every i in [0, n), several at once on as many threads as OpenMP has. Each call builds a graph of its
/// own over the same parameters and calls backward() on it; what that leaves in the parameters' grad() is added up in
/// one order, that of additions(n), so the sums have the same bits with any number of threads. This is how a batch is
/// divided: the threads meet once for each part of the batch, not in every op, and a part's activations stay in its
/// core's cache. There are at most threads + log2(n) gradients at a time.
/// Weights are packed once for all calls (core/kernels/packed_weights.h), so f must not write to parameters.
///
/// Within f, a parameter's grad() is what this call has made; that of a leaf which only f knew goes with it. NoGrad and
/// DetectAnomaly hold on all threads if they hold around this call. default_random() belongs to the thread: an f that
/// draws from it seeds it first, by i; afterwards it is as it was. What f throws is thrown again here, that of the
/// lowest i; gradients are then as they were.
PassTimes parallel_backward(int64_t n, const std::function<void(int64_t)>& f);

/// Is this call within such an f, or partial_backward()'s, on whatever thread? Then others may be running at the same
/// time, in any order. What a layer then writes, other than gradients, is a data race, or depends at best on the order.
bool inside_parallel_backward();

/// The sum over parts [to, end) is that over [to, from) and that over [from, end).
struct Addition {
  int64_t to, from, end;
  /// Can it be made by somebody who has the parts [first, last) alone?
  bool is_within(int64_t first, int64_t last) const { return first <= to && end <= last; }
};
/// How n parts are added: in a binary tree, each node after its children, the left half as long as the largest power of
/// two that leaves something for the right one. So neighbouring parts, as several processes have them, need few partial
/// sums to be told of: one, if the number of processes is a power of two and divides n.
std::vector<Addition> additions(int64_t n);

/// So that a leaf is found by its address alone, as in find(leaf.get()).
struct LeafHash {
  using is_transparent = void;
  size_t operator()(const auto& leaf) const { return std::hash<const Node*>()(std::to_address(leaf)); }
};
struct SameLeaf {
  using is_transparent = void;
  bool operator()(const auto& a, const auto& b) const { return std::to_address(a) == std::to_address(b); }
};
/// Gradients of leaves, which live as long as these do.
using LeafGradients = std::unordered_map<std::shared_ptr<Node>, Storage, LeafHash, SameLeaf>;
/// Sums of gradients, each by the first part that it is of.
using PartialSums = std::map<int64_t, LeafGradients>;

/// The same for the parts [begin, end) of the n: they are added as far as additions(n) can be made without the others.
/// No grad() is changed. For those who share out a batch among processes.
PartialSums partial_backward(int64_t n, int64_t begin, int64_t end, const std::function<void(int64_t)>& f);

}  // namespace difftensor::inline DT_PRECISION
