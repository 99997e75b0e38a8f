#pragma once
#include <ctime>

namespace training {

/// CPU seconds of updates, with all that the loop does for them, but without validations and what follows these.
class UpdateClock {
 public:
  void update_begins() {
    update_ends();
    began_ = now();
  }
  /// If one had begun.
  void update_ends() {
    if (began_ < 0) return;
    seconds_ += now() - began_;
    began_ = -1, ++updates_;
  }
  /// The mean, over the updates of this process; NaN without any, which JSON writes as null.
  double seconds_per_update() const { return seconds_ / static_cast<double>(updates_); }
  /// How many these were: fewer than all, if a training was resumed.
  int updates() const { return updates_; }

 private:
  static double now() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

  double seconds_ = 0, began_ = -1;  // negative: no update is at work
  int updates_ = 0;
};

}  // namespace training
