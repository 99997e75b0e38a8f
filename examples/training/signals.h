#pragma once
// Ctrl-C and kill, taken as a wish: the training saves what it has before it leaves.
#include <csignal>
#include <cstdint>
#include <string>

namespace training {

/// Thrown when SIGINT or SIGTERM came, and all that is done was saved.
struct Interrupted {
  int signal;
  std::string done;   ///< "after update 40"
  std::string go_on;  ///< what the program is to be told to go on: "train --run runs/mine --resume"
};

/// SIGINT or SIGTERM if one came within the scope of a CatchSignals, else 0.
inline volatile std::sig_atomic_t stop_signal = 0;

/// Within its scope, the first SIGINT and the first SIGTERM only set stop_signal. A second one kills.
class CatchSignals {
 public:
  CatchSignals() {
    stop_signal = 0;
    struct sigaction action {};
    action.sa_handler = [](int signal) { stop_signal = signal; };
    action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
    sigaction(SIGINT, &action, &before_[0]);
    sigaction(SIGTERM, &action, &before_[1]);
  }
  ~CatchSignals() {
    sigaction(SIGINT, &before_[0], nullptr);
    sigaction(SIGTERM, &before_[1], nullptr);
  }
  CatchSignals(const CatchSignals&) = delete;
  CatchSignals& operator=(const CatchSignals&) = delete;

 private:
  struct sigaction before_[2];
};

}  // namespace training
