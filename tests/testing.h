#pragma once
// What several test files need.
#include <doctest/doctest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "core/tensor.h"

/// Two ways to compute one thing may differ by this much.
inline constexpr double rounding = sizeof(difftensor::Scalar) == 4 ? 1e-5 : 1e-12;

/// What f() throws, as text; "no error" if it does not.
template <class F>
std::string error_of(F f) {
  try {
    f();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "no error";
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// A number that whoever runs the tests may choose.
inline uint64_t from_environment(const char* variable, uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text && *text ? std::strtoull(text, nullptr, 10) : otherwise;
}

/// A file of the project's folder, whole.
inline std::string project_file(const std::string& path) {
  std::ifstream in(path);
  REQUIRE_MESSAGE(in, path, ": run the tests from the project's folder");
  return {std::istreambuf_iterator<char>(in), {}};
}

/// The ops that return a Tensor, a name for each declaration in the headers that say what ops there are, but for those
/// that are deleted.
inline std::vector<std::string> declared_ops() {
  std::vector<std::string> names;
  for (const char* path : {"core/ops.h", "core/ops/attention.h"}) {
    std::istringstream header(project_file(path));
    for (std::string line; std::getline(header, line);)
      if (line.starts_with("Tensor ") && !line.ends_with(" = delete;"))
        names.push_back(line.substr(7, line.find('(') - 7));
  }
  return names;
}

/// The larger of two errors; a NaN counts as infinite, where std::max would drop it.
inline double worse(double a, double b) { return std::isnan(a) || std::isnan(b) ? INFINITY : std::max(a, b); }

/// max |a - b|; infinite if one of them is NaN or the shapes differ.
inline double largest_difference(const difftensor::Tensor& a, const difftensor::Tensor& b) {
  if (!(a.shape() == b.shape())) return INFINITY;
  double worst = 0;
  for (int64_t i = 0; i < a.numel(); ++i)
    worst = worse(worst, std::abs(static_cast<double>(a.data()[i]) - static_cast<double>(b.data()[i])));
  return worst;
}

/// While one lives, loops run on so many threads.
struct Threads {
  explicit Threads(int n) : before(omp_get_max_threads()) { omp_set_num_threads(n); }
  ~Threads() { omp_set_num_threads(before); }
  int before;
};

/// A folder that goes away with its content.
struct TemporaryFolder {
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "difftensor-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()));
    path = name;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path); }
  std::string operator/(const char* name) const { return path / name; }
  std::filesystem::path path;
};
