#include "examples/training/sharded_optimizer.h"

#include <algorithm>
#include <sstream>
#include <utility>

#include "core/autograd.h"
#include "core/kernels/parallel.h"
#include "optim/clip.h"

namespace training {

using namespace difftensor;

namespace {

std::span<std::byte> bytes_of(const Scalar* values, int64_t count) {
  return std::as_writable_bytes(std::span(const_cast<Scalar*>(values), static_cast<size_t>(count)));
}

}  // namespace

// What is to be added when every rank has added what it can.
struct ShardedOptimizer::Plan {
  explicit Plan(int64_t parts) : sums(static_cast<size_t>(ranks())), additions(difftensor::additions(parts)) {
    for (int r = 0; r < ranks(); ++r) {
      const auto [begin, end] = share(parts, r, ranks());
      std::vector<int64_t>& firsts = sums[static_cast<size_t>(r)];
      for (int64_t i = begin; i < end; ++i) firsts.push_back(i);
      std::erase_if(additions, [&, begin = begin, end = end](const Addition& a) {
        const bool done = a.is_within(begin, end);
        if (done) std::erase(firsts, a.from);
        return done;
      });
    }
  }
  std::vector<std::vector<int64_t>> sums;  // each rank's, by the first part that each is of
  std::vector<Addition> additions;         // those that need several ranks
};

// Of each of this rank's shards, the sum that begins with each part; null where there is none.
struct ShardedOptimizer::ShardSums {
  std::vector<std::vector<Scalar*>> at;
  std::vector<Storage> received;  // what came from others lies here
};

ShardedOptimizer::ShardedOptimizer(std::vector<Tensor> parameters, const Make& make)
    : parameters_(std::move(parameters)) {
  int64_t total = 0, before = 0;
  for (const Tensor& p : parameters_) total += p.numel();
  // Borders lie between the pieces that clip_grad_norm sums by.
  for (size_t i = 0; i < parameters_.size(); ++i)
    for (int64_t begin = 0; begin < parameters_[i].numel(); begin += optim::norm_piece) {
      const int64_t end = std::min(begin + optim::norm_piece, parameters_[i].numel());
      const int owner = static_cast<int>((before + begin) * ranks() / total);
      if (!shards_.empty() && shards_.back().rank == owner && shards_.back().parameter == i)
        shards_.back().end = end;
      else
        shards_.push_back({owner, i, begin, end, {}});
      if (end == parameters_[i].numel()) before += end;
    }
  std::vector<Tensor> own;
  for (Shard& shard : shards_) {
    if (shard.rank != rank()) continue;
    const Tensor& whole = parameters_[shard.parameter];
    shard.values = whole;
    if (shard.end - shard.begin < whole.numel()) {
      shard.values = zeros({shard.end - shard.begin});
      std::copy(whole.data() + shard.begin, whole.data() + shard.end, shard.values.data());
      shard.values.requires_grad(whole.is_parameter());
    }
    own.push_back(shard.values);
  }
  optimizer_ = make(own);
}

std::vector<const ShardedOptimizer::Shard*> ShardedOptimizer::shards_of(int rank) const {
  std::vector<const Shard*> found;
  for (const Shard& shard : shards_)
    if (shard.rank == rank) found.push_back(&shard);
  return found;
}

void ShardedOptimizer::backward(int64_t parts, const std::function<void(int64_t)>& f) {
  if (ranks() == 1) {
    parallel_backward(parts, f);
    return;
  }
  const auto [begin, end] = share(parts, rank(), ranks());
  add_gradients(parts, partial_backward(parts, begin, end, f));
}

// Each rank tells of which parameters its sums have gradients, and sends to every other what that one owns of them.
ShardedOptimizer::ShardSums ShardedOptimizer::exchange(const Plan& plan, const PartialSums& sums, int64_t parts) const {
  const int self = rank();
  const auto gradient = [&](int64_t first, size_t parameter) -> const Storage* {
    const auto sum = sums.find(first);
    if (sum == sums.end()) return nullptr;
    const auto found = sum->second.find(parameters_[parameter].node().get());
    return found == sum->second.end() ? nullptr : &found->second;
  };
  const std::vector<int64_t>& own_sums = plan.sums[static_cast<size_t>(self)];
  std::string present;  // for each sum and parameter
  for (const int64_t first : own_sums)
    for (size_t i = 0; i < parameters_.size(); ++i) present += gradient(first, i) ? '1' : '0';
  const std::vector<std::string> all_present = all_gather(present);

  const std::vector<const Shard*> own = shards_of(self);
  ShardSums found{std::vector(own.size(), std::vector<Scalar*>(static_cast<size_t>(parts))), {}};
  std::vector<Message> sends, receives;
  for (int other = 0; other < ranks(); ++other) {
    const std::vector<int64_t>& firsts = plan.sums[static_cast<size_t>(other)];
    Message out{other, {}}, in{other, {}};
    if (other != self)
      for (const int64_t first : own_sums)
        for (const Shard* shard : shards_of(other))
          if (const Storage* g = gradient(first, shard->parameter))
            out.places.push_back(bytes_of(g->data() + shard->begin, shard->end - shard->begin));
    for (size_t k = 0; k < firsts.size(); ++k)
      for (size_t j = 0; j < own.size(); ++j) {
        const Shard& shard = *own[j];
        if (all_present[static_cast<size_t>(other)][k * parameters_.size() + shard.parameter] == '0') continue;
        Scalar*& sum = found.at[j][static_cast<size_t>(firsts[k])];
        if (other == self) {
          sum = const_cast<Scalar*>(gradient(firsts[k], shard.parameter)->data()) + shard.begin;
          continue;
        }
        sum = found.received.emplace_back(shard.end - shard.begin).data();
        in.places.push_back(bytes_of(sum, shard.end - shard.begin));
      }
    sends.push_back(std::move(out)), receives.push_back(std::move(in));
  }
  send_and_receive(sends, receives);
  return found;
}

// Adds what comes from others to what this rank has, for the elements that it owns.
void ShardedOptimizer::add_gradients(int64_t parts, PartialSums sums) {
  const Plan plan(parts);
  const ShardSums found = exchange(plan, sums, parts);
  const std::vector<const Shard*> own = shards_of(rank());
  std::vector<Storage> totals(own.size());
  std::vector<Scalar*> written;
  std::vector<int64_t> sizes;
  for (size_t j = 0; j < own.size(); ++j) {
    const bool any = std::any_of(found.at[j].begin(), found.at[j].end(), [](const Scalar* sum) { return sum; });
    if (any) totals[j] = Storage(own[j]->end - own[j]->begin);
    written.push_back(totals[j].data());
    sizes.push_back(totals[j].size());
  }
  parallel_for(sizes, [&](size_t j, int64_t begin, int64_t end) {
    std::vector<Scalar*> sum = found.at[j];
    for (const Addition& a : plan.additions) {
      Scalar *to = sum[static_cast<size_t>(a.to)], *from = sum[static_cast<size_t>(a.from)];
      if (!to) sum[static_cast<size_t>(a.to)] = from;
      if (!to || !from) continue;
#pragma omp simd
      for (int64_t k = begin; k < end; ++k) to[k] += from[k];
    }
    std::copy(sum[0] + begin, sum[0] + end, written[j] + begin);
  });
  for (size_t j = 0; j < own.size(); ++j)
    if (totals[j]) own[j]->values.node()->grad = std::move(totals[j]);
}

double ShardedOptimizer::clip_grad_norm(double max_norm) {
  std::vector<Tensor> own;
  for (const Shard* shard : shards_of(rank())) own.push_back(shard->values);
  return optim::clip_grad_norm(own, max_norm, [](const std::vector<double>& sums) { return all_gather(sums); });
}

void ShardedOptimizer::step(double lr) {
  optimizer_->set_lr(lr);
  optimizer_->step();
  optimizer_->zero_grad();
  if (ranks() == 1) return;
  const int self = rank();
  std::vector<Scalar*> values;
  for (Tensor parameter : parameters_) values.push_back(parameter.data());
  for (const Shard* shard : shards_of(self))
    if (const Tensor& own = shard->values; own.numel() < parameters_[shard->parameter].numel())
      std::copy_n(own.data(), own.numel(), values[shard->parameter] + shard->begin);
  const auto message = [&](int with, int owner) {
    Message m{with, {}};
    for (const Shard* shard : shards_of(owner))
      m.places.push_back(bytes_of(values[shard->parameter] + shard->begin, shard->end - shard->begin));
    return m;
  };
  std::vector<Message> sends, receives;
  for (int other = 0; other < ranks(); ++other)
    if (other != self) sends.push_back(message(other, self)), receives.push_back(message(other, other));
  send_and_receive(sends, receives);
}

// --- State ----------------------------------------------------------------------------------------------------------

namespace {
// "m.3" is m of the third of some tensors; "steps" has an element for each.
struct StateName {
  explicit StateName(const std::string& name) : kind(name.substr(0, name.find('.'))) {
    if (kind.size() < name.size()) of = std::stoul(name.substr(kind.size() + 1));
  }
  std::string kind;
  size_t of = 0;
};
}  // namespace

std::map<std::string, Tensor> ShardedOptimizer::state_dict() const {
  std::map<std::string, Tensor> own = optimizer_->state_dict();
  if (ranks() == 1) return own;
  std::string names;
  for (auto& [name, tensor] : own) names += name + " " + std::to_string(tensor.numel()) + "\n";
  const std::vector<std::string> all_names = all_gather(names);
  std::vector<Message> sends, receives;
  if (rank() != 0) {
    sends.push_back({0, {}});
    for (auto& [name, tensor] : own) sends[0].places.push_back(bytes_of(std::as_const(tensor).data(), tensor.numel()));
    send_and_receive(sends, receives);
    return {};
  }
  std::vector<std::map<std::string, Tensor>> of_ranks(static_cast<size_t>(ranks()));
  of_ranks[0] = std::move(own);
  for (int other = 1; other < ranks(); ++other) {
    std::map<std::string, Tensor>& state = of_ranks[static_cast<size_t>(other)];
    Message& in = receives.emplace_back(Message{other, {}});
    std::istringstream names_and_sizes(all_names[static_cast<size_t>(other)]);
    int64_t size;
    for (std::string name; names_and_sizes >> name >> size;) {
      Tensor& tensor = state[name] = zeros({size});
      in.places.push_back(bytes_of(tensor.data(), size));
    }
  }
  send_and_receive(sends, receives);

  std::map<std::string, Tensor> whole{{"steps", zeros({static_cast<int64_t>(parameters_.size())})}};
  for (int r = 0; r < ranks(); ++r) {
    const std::vector<const Shard*> shards = shards_of(r);
    for (auto& [name, tensor] : of_ranks[static_cast<size_t>(r)]) {
      if (name == "steps") {
        for (size_t j = 0; j < shards.size(); ++j) whole[name].data()[shards[j]->parameter] = tensor.values()[j];
        continue;
      }
      const StateName part(name);
      const Shard& shard = *shards.at(part.of);
      Tensor& all = whole[part.kind + "." + std::to_string(shard.parameter)];
      if (!all.defined()) all = zeros(parameters_[shard.parameter].shape());
      std::copy_n(std::as_const(tensor).data(), tensor.numel(), all.data() + shard.begin);
    }
  }
  return whole;
}

void ShardedOptimizer::load_state_dict(const std::map<std::string, Tensor>& state) {
  if (ranks() == 1) return optimizer_->load_state_dict(state);
  const std::vector<const Shard*> own = shards_of(rank());
  const auto count = static_cast<int64_t>(own.size());
  std::map<std::string, Tensor> of_shards;
  for (auto& [name, tensor] : state) {
    const StateName whole(name);
    const bool fits = tensor.numel() == (name == "steps"                 ? static_cast<int64_t>(parameters_.size())
                                         : whole.of < parameters_.size() ? parameters_[whole.of].numel()
                                                                         : -1);
    require(fits, "load_state_dict", name, " of shape ", tensor.shape(), " belongs to other parameters");
    for (int64_t j = 0; j < count; ++j) {
      const Shard& shard = *own[static_cast<size_t>(j)];
      if (name == "steps") {
        Tensor& steps = of_shards[name];
        if (!steps.defined()) steps = zeros({count});
        steps.data()[j] = tensor.data()[shard.parameter];
      } else if (whole.of == shard.parameter) {
        Tensor part(shard.values.shape());
        std::copy_n(tensor.data() + shard.begin, part.numel(), part.data());
        of_shards[whole.kind + "." + std::to_string(j)] = part;
      }
    }
  }
  optimizer_->load_state_dict(of_shards);
}

}  // namespace training
