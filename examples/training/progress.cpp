#include "examples/training/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "examples/training/ranks.h"

namespace training {
namespace {

// 75 -> "1:15", 3675 -> "1:01:15".
std::string duration(double seconds) {
  const long long s = std::llround(std::min(seconds, 3.6e8));
  char text[32];
  if (s < 3600)
    std::snprintf(text, sizeof text, "%lld:%02lld", s / 60, s % 60);
  else
    std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
  return text;
}

int terminal_columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

std::string progress_text(int64_t done, int64_t total, double steps_per_second) {
  char rate[32];
  std::snprintf(rate, sizeof rate, steps_per_second < 100 ? "  %.1f/s" : "  %.0f/s", steps_per_second);
  std::string text = std::to_string(done) + "/" + std::to_string(total);
  if (steps_per_second > 0) text += rate + ("  " + duration((total - done) / steps_per_second)) + " left";
  return text;
}

std::string progress_line(int64_t done, int64_t total, double steps_per_second, const std::string& status,
                          int columns) {
  const double fraction = total > 0 ? std::clamp(static_cast<double>(done) / total, 0.0, 1.0) : 1;
  char percent[8];
  std::snprintf(percent, sizeof percent, "%3d%% ", static_cast<int>(100 * fraction));
  std::string text = "  " + progress_text(done, total, steps_per_second);
  if (!status.empty()) text += "  " + status;

  const int room = columns - 5 - static_cast<int>(text.size());
  const int width = room < 8 ? 0 : std::min(room, 32), filled = static_cast<int>(fraction * width);
  std::string line = percent;
  for (int i = 0; i < width; ++i) line += i < filled ? "━" : "┄";
  return line + text.substr(0, std::max(0, columns - 5));
}

Progress::Progress(int64_t total, int64_t done, std::string name)
    : total_(total), first_(done), name_(std::move(name)), terminal_(isatty(STDERR_FILENO)) {
  if (rank() != 0) terminal_ = false, name_.clear();
}

void Progress::update(int64_t done, const std::string& status) {
  const auto now = Clock::now();
  const bool line_due = !terminal_ && !name_.empty() && now - last_line_ >= std::chrono::seconds(10);
  const bool bar_due = terminal_ && !(drawn_ && now - last_draw_ < std::chrono::milliseconds(100));
  if (!line_due && !bar_due) return;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double rate = seconds > 0 ? (done - first_) / seconds : 0;
  if (line_due) {
    std::fprintf(stderr, "%s  %s\n", name_.c_str(), progress_text(done, total_, rate).c_str());
    last_line_ = now;
    return;
  }
  // One column stays free: a full line would wrap. \033[K erases what a longer line left behind.
  const std::string& words = status.empty() ? name_ : status;
  std::fprintf(stderr, "\r%s\033[K", progress_line(done, total_, rate, words, terminal_columns() - 1).c_str());
  last_draw_ = now;
  drawn_ = true;
}

void Progress::clear() {
  if (drawn_) std::fputs("\r\033[K", stderr);
  drawn_ = false;
}

}  // namespace training
