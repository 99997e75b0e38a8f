#pragma once
// What the benchmarks share: time, memory, the machine's GEMM peak, its description, and a program's frame.
#include <cblas.h>
#include <omp.h>
#include <sys/mman.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <new>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/kernels/gemm.h"
#include "examples/text/files.h"
#include "examples/training/program.h"
#include "examples/training/statistics.h"

namespace bench {

using difftensor::Scalar;

// --- Time ---------------------------------------------------------------------------------------------------------

inline double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

using training::median;

/// Seconds per call of each candidate: the median of `runs` samples. The candidates take turns, so that an hour in
/// which the machine is slow is slow for all of them; a sample is as many calls as last about 20 ms.
inline std::vector<double> time_calls(const std::vector<std::function<void()>>& candidates, int runs = 7) {
  auto sample = [](const std::function<void()>& f, int calls) {
    const double start = seconds();
    for (int i = 0; i < calls; ++i) f();
    return (seconds() - start) / calls;
  };
  std::vector<int> calls;
  for (const auto& f : candidates) {
    f();  // touches memory, fills caches, wakes threads
    calls.push_back(static_cast<int>(std::clamp(0.02 / sample(f, 1), 1.0, 1e6)));
  }
  std::vector<std::vector<double>> samples(candidates.size());
  for (int run = 0; run < runs; ++run)
    for (size_t i = 0; i < candidates.size(); ++i) samples[i].push_back(sample(candidates[i], calls[i]));
  std::vector<double> medians;
  for (const auto& s : samples) medians.push_back(median(s));
  return medians;
}

// --- Memory -------------------------------------------------------------------------------------------------------

/// A line of /proc/self/status in MiB: VmRSS, what is resident now; VmHWM, the most there ever was.
inline double status_mib(const std::string& key) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(key + ":")) return std::stod(line.substr(key.size() + 1)) / 1024;
  return 0;
}
/// Lets VmHWM start again from what is resident now (proc(5), clear_refs).
inline void reset_peak_memory() { std::ofstream("/proc/self/clear_refs") << 5; }

/// A zeroed array straight from the kernel, every page touched, and returned to it at the end: what a benchmark needs
/// for itself leaves no trace in malloc, whose later behaviour, and peak, are being measured.
class Pages {
 public:
  explicit Pages(int64_t count) : bytes_(static_cast<size_t>(count) * sizeof(Scalar)) {
    void* at = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (at == MAP_FAILED) throw std::bad_alloc();
    data_ = static_cast<Scalar*>(at);
  }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  ~Pages() { munmap(data_, bytes_); }
  Scalar* data() const { return data_; }

 private:
  size_t bytes_;
  Scalar* data_;
};

// --- The machine --------------------------------------------------------------------------------------------------

/// GFLOP/s of `threads` products of 2048 x 2048 matrices at once, one on each thread: the best of five.
inline double gemm_peak(int threads) {
  constexpr int64_t n = 2048;
  const Pages a(n * n), b(n * n), c(threads * n * n);
  std::fill_n(a.data(), n * n, Scalar(0.5));
  std::fill_n(b.data(), n * n, Scalar(0.25));
  double best = 0;
  for (int run = 0; run < 5; ++run) {
    const double start = seconds();
#pragma omp parallel num_threads(threads)
    difftensor::kernels::gemm(false, false, n, n, n, a.data(), n, b.data(), n, 0,
                              c.data() + omp_get_thread_num() * n * n, n);
    best = std::max(best, threads * 2.0 * n * n * n / (seconds() - start) / 1e9);
  }
  return best;
}

/// What a record must name so that its numbers mean something next year.
inline nlohmann::json machine() {
  return {{"cpu", training::cpu_name()},
          {"openblas", openblas_get_config()},  // its version is the second word
          {"openblas_core", openblas_get_corename()},
          {"compiler", std::string("g++ ") + __VERSION__}};
}

/// Writes a program's record, with the machine's description, if there is a path for it.
inline void keep(const std::string& path, nlohmann::ordered_json record) {
  if (path.empty()) return;
  record["machine"] = machine();
  text::write_file(path, record.dump(2) + "\n");
}

// --- A program ----------------------------------------------------------------------------------------------------

/// For options that count something. (CLI::PositiveNumber names a range of 300 digits in its message.)
inline const CLI::Range positive(1, 1 << 30);

/// Parses the command line and runs `body`. What goes wrong is one line on stderr and exit code 2.
template <class Body>
int run(CLI::App& app, int argc, char** argv, Body body) {
  try {
    app.parse(argc, argv);
    body();
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help
    std::fprintf(stderr, "%s: %s (--help lists the options)\n", app.get_name().c_str(), e.what());
    return 2;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s: %s\n", app.get_name().c_str(), e.what());
    return 2;
  }
  return 0;
}

}  // namespace bench
