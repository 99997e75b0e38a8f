#pragma once
// What the benchmarks share: time, memory, the machine's GEMM peak, its description, and a program's frame.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/base.h"
#include "core/parallel_backward.h"
#include "examples/training/statistics.h"
#include "examples/training/task.h"

namespace bench {

using difftensor::Scalar;

// --- Time ---------------------------------------------------------------------------------------------------------

/// Of a clock that only goes forward.
double seconds();

using training::median;

/// Seconds per call of each candidate: the median of `runs` samples. The candidates take turns, so that an hour in
/// which the machine is slow is slow for all of them; a sample is as many calls as last about 20 ms.
std::vector<double> time_calls(const std::vector<std::function<void()>>& candidates, int runs = 7);

// --- Memory -------------------------------------------------------------------------------------------------------

/// A line of /proc/self/status in MiB: VmRSS, what is resident now; VmHWM, the most there ever was.
double status_mib(const std::string& key);
/// Lets VmHWM start again from what is resident now (proc(5), clear_refs).
void reset_peak_memory();

/// A zeroed array straight from the kernel, every page touched, and returned to it at the end: what a benchmark needs
/// for itself leaves no trace in malloc, whose later behaviour, and peak, are being measured.
class Pages {
 public:
  /// Throws std::bad_alloc.
  explicit Pages(int64_t count);
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  ~Pages();
  Scalar* data() const { return data_; }

 private:
  size_t bytes_;
  Scalar* data_;
};

// --- The machine --------------------------------------------------------------------------------------------------

/// GFLOP/s of `threads` products of 2048 x 2048 matrices at once, one on each thread: the best of five.
double gemm_peak(int threads);

/// What a record must name so that its numbers mean something next year.
nlohmann::json machine();

/// Writes a program's record, with the machine's description, if there is a path for it.
void keep(const std::string& path, nlohmann::ordered_json record);

// --- A training's update ------------------------------------------------------------------------------------------

/// Calls f(i) for each piece of an update, those of a part one after the other, as a training does (examples/training,
/// Loop::forward_backward).
inline difftensor::PassTimes backward_by_parts(int64_t pieces, const std::function<void(int64_t)>& f) {
  const int64_t parts = std::min(pieces, training::update_parts);
  return difftensor::parallel_backward(parts, [&](int64_t part) {
    const auto [begin, end] = training::share(pieces, part, parts);
    for (int64_t i = begin; i < end; ++i) f(i);
  });
}

// --- A program ----------------------------------------------------------------------------------------------------

/// For options that count something. (CLI::PositiveNumber names a range of 300 digits in its message.)
inline const CLI::Range positive(1, 1 << 30);

/// Parses the command line and runs `body`. What goes wrong is one line on stderr and exit code 2.
int run(CLI::App& app, int argc, char** argv, const std::function<void()>& body);

}  // namespace bench
