// Ranks that MPI starts and connects. Whoever waits for others sleeps, and learns within seconds that one is gone: MPI
// alone would wait for ever where a machine has vanished.
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <thread>

#include "examples/training/ranks.h"

namespace training {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds, std::chrono::milliseconds, std::chrono::seconds;

int own_rank = 0, rank_count = 1;
int alone = 0;  // scopes
Traffic total;

// Processes that mpirun, srun or another launcher has started. Others need no MPI.
bool was_launched() {
  for (const char* variable : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"})
    if (std::getenv(variable)) return true;
  return false;
}

std::string name_of_this_rank() {
  char host[256] = "";
  ::gethostname(host, sizeof host - 1);
  return "rank " + std::to_string(own_rank) + " on " + host;
}

// Done when all requests are. Polls, and sleeps longer the longer it takes: a waiting rank leaves the cores to those
// that still compute.
void wait_for(std::vector<MPI_Request>& requests) {
  const auto start = Clock::now();
  for (int done = 0;;) {
    MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE);
    const auto waited = Clock::now() - start;
    if (done) {
      total.seconds += std::chrono::duration<double>(waited).count();
      return;
    }
    if (waited < microseconds(200))
      std::this_thread::yield();
    else
      std::this_thread::sleep_for(std::clamp<Clock::duration>(waited / 20, microseconds(20), microseconds(500)));
  }
}

// Prints the line, and ends all ranks.
[[noreturn]] void abort_all(int status, const std::string& line) {
  std::fprintf(stderr, "%s\n", line.c_str());
  std::fflush(stdout);
  // Where the others cannot be reached, MPI_Abort may wait for them.
  std::thread([] { std::this_thread::sleep_for(seconds(5)), ::kill(::getpid(), SIGKILL); }).detach();
  MPI_Abort(MPI_COMM_WORLD, status);
  std::_Exit(status);
}

// Every second a byte from rank 0 to each other rank, and one from each to rank 0, on a thread of their own: so a rank
// answers however long it computes.
class Heartbeat {
 public:
  Heartbeat() {
    MPI_Comm_dup(MPI_COMM_WORLD, &world_);
    if (own_rank > 0)
      peers_.push_back({0});
    else
      for (int i = 1; i < rank_count; ++i) peers_.push_back({i});
    for (Peer& peer : peers_) listen(peer);
    thread_ = std::thread([this] { beat(); });
  }
  ~Heartbeat() {
    ends_ = true;
    thread_.join();
    for (Peer& peer : peers_) MPI_Cancel(&peer.receive), MPI_Request_free(&peer.receive);
  }

 private:
  static constexpr auto patience = seconds(10);
  struct Peer {
    int rank;
    MPI_Request send = MPI_REQUEST_NULL, receive = MPI_REQUEST_NULL;
    Clock::time_point heard = Clock::now();
    char in = 0, out = 0;
  };

  void listen(Peer& peer) const { MPI_Irecv(&peer.in, 1, MPI_CHAR, peer.rank, 0, world_, &peer.receive); }

  void beat() {
    for (auto next = Clock::now(); !ends_; std::this_thread::sleep_for(milliseconds(50))) {
      for (Peer& peer : peers_) {
        int done = 0;
        while (MPI_Test(&peer.receive, &done, MPI_STATUS_IGNORE), done) peer.heard = Clock::now(), listen(peer);
        if (Clock::now() - peer.heard > patience)
          abort_all(2,
                    name_of_this_rank() + " has heard nothing of rank " + std::to_string(peer.rank) +
                        " for 10 s: its machine or the network is gone. Go on with --resume from the last checkpoint");
        MPI_Test(&peer.send, &done, MPI_STATUS_IGNORE);  // of the one before: one that never went is not added to
        if (done && Clock::now() >= next) MPI_Isend(&peer.out, 1, MPI_CHAR, peer.rank, 0, world_, &peer.send);
      }
      if (Clock::now() >= next) next += seconds(1);
    }
  }

  MPI_Comm world_;
  std::vector<Peer> peers_;
  std::atomic<bool> ends_ = false;
  std::thread thread_;
};
Heartbeat* heartbeat = nullptr;

}  // namespace

int rank() { return alone ? 0 : own_rank; }
int ranks() { return alone ? 1 : rank_count; }
Traffic traffic() { return total; }
Alone::Alone() { ++alone; }
Alone::~Alone() { --alone; }

RanksJoined::RanksJoined(int argc, char** argv) {
  if (!was_launched()) return;
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
  MPI_Comm_rank(MPI_COMM_WORLD, &own_rank);
  MPI_Comm_size(MPI_COMM_WORLD, &rank_count);
  if (provided < MPI_THREAD_MULTIPLE) end_ranks(2, "this MPI cannot be called from two threads (MPI_THREAD_MULTIPLE)");
  if (rank_count > 1) heartbeat = new Heartbeat;
}

RanksJoined::~RanksJoined() {
  if (!was_launched()) return;
  if (rank_count > 1) all_gather("");  // nobody's silence is missed from here on
  delete heartbeat;
  MPI_Finalize();
}

void end_ranks(int status, const std::string& line) {
  if (own_rank == 0) abort_all(status, line);
  // Most likely rank 0 has met the same and is about to end this one. If not, this rank has a line of its own.
  std::this_thread::sleep_for(seconds(2));
  abort_all(status, line + " (" + name_of_this_rank() + ")");
}

std::vector<std::string> all_gather(std::string_view own) {
  if (ranks() == 1) return {std::string(own)};
  std::vector<unsigned long> sizes(static_cast<size_t>(rank_count));
  const unsigned long size = own.size();
  std::vector<MPI_Request> requests(1);
  MPI_Iallgather(&size, 1, MPI_UNSIGNED_LONG, sizes.data(), 1, MPI_UNSIGNED_LONG, MPI_COMM_WORLD, requests.data());
  wait_for(requests);
  std::vector<std::string> all;
  for (const unsigned long bytes : sizes) all.emplace_back(bytes, '\0');
  all[static_cast<size_t>(own_rank)] = own;
  std::vector<Message> sends, receives;
  for (int other = 0; other < rank_count; ++other) {
    if (other == own_rank) continue;
    sends.push_back({other, {std::as_writable_bytes(std::span(all[static_cast<size_t>(own_rank)]))}});
    receives.push_back({other, {std::as_writable_bytes(std::span(all[static_cast<size_t>(other)]))}});
  }
  send_and_receive(sends, receives);
  return all;
}

void send_and_receive(const std::vector<Message>& sends, const std::vector<Message>& receives) {
  constexpr size_t longest = size_t{1} << 30;  // that MPI can count
  std::vector<MPI_Request> requests;
  const auto start = [&](const Message& message, auto call) {
    std::vector<int> lengths;
    std::vector<MPI_Aint> addresses;
    for (std::span<std::byte> rest : message.places)
      while (!rest.empty()) {
        const size_t length = std::min(rest.size(), longest);
        lengths.push_back(static_cast<int>(length));
        MPI_Get_address(rest.data(), &addresses.emplace_back());
        rest = rest.subspan(length);
      }
    if (lengths.empty()) return;
    MPI_Datatype places;
    MPI_Type_create_hindexed(static_cast<int>(lengths.size()), lengths.data(), addresses.data(), MPI_BYTE, &places);
    MPI_Type_commit(&places);
    call(MPI_BOTTOM, 1, places, message.rank, 0, MPI_COMM_WORLD, &requests.emplace_back());
    MPI_Type_free(&places);  // once the message has gone
  };
  for (const Message& message : receives) start(message, MPI_Irecv);
  for (const Message& message : sends) {
    start(message, MPI_Isend);
    for (const std::span<std::byte> place : message.places) total.bytes += static_cast<double>(place.size());
  }
  wait_for(requests);
}

}  // namespace training
