// golden_f32 / golden_f64 FILE...: one line per file, with its worst error. Exits 1 if a file fails, 2 if one cannot be
// read.
#include <algorithm>
#include <cstdio>
#include <exception>

#include "core/fast_blas.h"
#include "tests/golden_check.h"

int main(int argc, char** argv) {
  difftensor::ensure_fast_blas(argv);
  const char* precision = sizeof(difftensor::Scalar) == 8 ? "double" : "float";
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s FILE.safetensors...\n", argv[0]);
    return 2;
  }
  int status = 0;
  for (int i = 1; i < argc; ++i) {
    try {
      const auto result = difftensor::check_golden(argv[i]);
      std::printf("%-4s %-6s %s: %d tensors, worst %s\n", result.ok() ? "ok" : "FAIL", precision, argv[i],
                  result.tensors, result.where.c_str());
      if (!result.ok()) status = std::max(status, 1);
    } catch (const std::exception& e) {
      std::printf("FAIL %-6s %s: %s\n", precision, argv[i], e.what());
      status = 2;
    }
  }
  return status;
}
