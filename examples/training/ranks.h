#pragma once
// The processes that share out one training, each a rank, as MPI calls them. A program built without MPI is the one
// rank of one (ranks_single.cpp); one that was built with MPI=1 is as many as mpirun starts (ranks_mpi.cpp). Every rank
// runs the same loop, reads the data and holds all parameters; rank 0 alone writes, prints and draws.
//
// Calls marked "together" are made by every rank, in the same order.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace training {

/// This process, from 0, and how many there are.
int rank();
int ranks();

/// The i-th of `count` nearly equal shares of [0, n), as [first, second).
inline std::pair<int64_t, int64_t> share(int64_t n, int64_t i, int64_t count) {
  return {n * i / count, n * (i + 1) / count};
}

/// The processes join for as long as this lives, at the beginning of main().
class RanksJoined {
 public:
  RanksJoined(int argc, char** argv);
  /// Together, if all went well.
  ~RanksJoined();
  RanksJoined(const RanksJoined&) = delete;
  RanksJoined& operator=(const RanksJoined&) = delete;
};

/// Ends all ranks with an exit status, and has one line printed that says why, for all of them if they met the same.
[[noreturn]] void end_ranks(int status, const std::string& line);

/// While one lives, this process is the one rank of one: for what rank 0 does alone.
class Alone {
 public:
  Alone();
  ~Alone();
  Alone(const Alone&) = delete;
  Alone& operator=(const Alone&) = delete;
};

/// Together: what every rank gives, in the order of ranks.
std::vector<std::string> all_gather(std::string_view own);

/// Together: the numbers that every rank gives, those of rank 0 first.
std::vector<double> all_gather(const std::vector<double>& own);

/// Bytes that go to another rank, or come from one: all of `places`, one after the other.
struct Message {
  int rank;
  std::vector<std::span<std::byte>> places;
};
/// Together: sends and receives, at most one message each way between two ranks. Done when all have arrived.
void send_and_receive(const std::vector<Message>& sends, const std::vector<Message>& receives);

/// What this rank has sent so far, and how long it has waited for others to send or to receive.
struct Traffic {
  double bytes = 0, seconds = 0;
};
Traffic traffic();

/// Together: throws std::runtime_error unless every rank gives the same text; `what` it is.
void require_same(const std::string& what, std::string_view own);

/// Together: f(0) + f(1) + ... + f(n - 1), element by element and in this order; all give as many numbers. Each f(i) is
/// called on one rank, that whose share(n, rank(), ranks()) has it; so the sum has the same bits with any number of
/// ranks.
std::vector<double> share_sum(int64_t n, const std::function<std::vector<double>(int64_t)>& f);

}  // namespace training
