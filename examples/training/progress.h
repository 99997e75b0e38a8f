#pragma once
// A progress bar on the terminal.
#include <chrono>
#include <cstdint>
#include <string>

namespace training {

/// Shows, on rank 0, how far the work is, how fast it goes, and when it will be done, on stderr if that is a terminal. The bar
/// vanishes with the object. Elsewhere, as in a log, work that has a name gets a line every ten seconds; other work
/// none.
class Progress {
 public:
  /// `done` steps of `total` were done before, in a run that is now resumed.
  explicit Progress(int64_t total, int64_t done = 0, std::string name = {});
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Call it as often as you like: it draws at most ten times a second. `status` is a few words, such as the loss.
  void update(int64_t done, const std::string& status = {});
  /// Removes the bar from its line, to write something else there. The next update draws it again.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  int64_t total_, first_;
  std::string name_;
  bool terminal_, drawn_ = false;
  Clock::time_point start_ = Clock::now(), last_draw_{}, last_line_ = start_;
};

/// "840/2000  12.3/s  1:34 left"; with no rate, how far it is alone.
std::string progress_text(int64_t done, int64_t total, double steps_per_second);
/// What the bar shows, in at most `columns` characters: " 42% ━━━━━━━━━┄┄┄┄┄┄┄  840/2000  12.3/s  1:34 left  loss 3.2".
std::string progress_line(int64_t done, int64_t total, double steps_per_second, const std::string& status, int columns);

}  // namespace training
