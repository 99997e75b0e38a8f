#include "tests/bench/bench.h"

#include <cblas.h>
#include <omp.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <new>

#include "core/kernels/gemm.h"
#include "examples/text/files.h"
#include "examples/training/program.h"

namespace bench {

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::vector<double> time_calls(const std::vector<std::function<void()>>& candidates, int runs) {
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

double status_mib(const std::string& key) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(key + ":")) return std::stod(line.substr(key.size() + 1)) / 1024;
  return 0;
}

void reset_peak_memory() { std::ofstream("/proc/self/clear_refs") << 5; }

Pages::Pages(int64_t count) : bytes_(static_cast<size_t>(count) * sizeof(Scalar)) {
  void* at = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (at == MAP_FAILED) throw std::bad_alloc();
  data_ = static_cast<Scalar*>(at);
}
Pages::~Pages() { munmap(data_, bytes_); }

double gemm_peak(int threads) {
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

nlohmann::json machine() {
  return {
      {"cpu", training::cpu_name()},
      {"openblas", openblas_get_config()},  // its version is the second word
      {"openblas_core", openblas_get_corename()},
      {"compiler",
       std::string(__VERSION__).find("Clang") != std::string::npos ? __VERSION__ : std::string("g++ ") + __VERSION__}};
}

void keep(const std::string& path, nlohmann::ordered_json record) {
  if (path.empty()) return;
  record["machine"] = machine();
  text::write_file(path, record.dump(2) + "\n");
}

int run(CLI::App& app, int argc, char** argv, const std::function<void()>& body) {
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
