#pragma once
// A guard for programs: OpenBLAS chooses its kernels from a list of CPUs, and an old OpenBLAS that does not know a new
// CPU falls back to kernels of 2004, five times slower. It reads OPENBLAS_CORETYPE when it is loaded, so the cure is to
// start again.
#include <cblas.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace difftensor {

/// Call first in main(). If OpenBLAS's kernels use less than the CPU offers, runs this program again, once, with
/// OPENBLAS_CORETYPE set, and says so in one line. A value set by the user is kept, with a warning.
inline void ensure_fast_blas(char** argv) {
#if defined(__x86_64__)
  auto level = [](const std::string& core) {  // 2: AVX-512, 1: AVX2, 0: less
    for (const char* name : {"SkylakeX", "Cooperlake", "SapphireRapids"})
      if (core == name) return 2;
    for (const char* name : {"Haswell", "Zen"})
      if (core == name) return 1;
    return 0;
  };
  const std::string core = openblas_get_corename();
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const int cpu = avx512 ? 2 : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? 1 : 0;
  if (level(core) >= cpu) return;
  const char *wanted = cpu == 2 ? "SKYLAKEX" : "HASWELL", *flag = cpu == 2 ? "AVX-512" : "AVX2";
  if (const char* set = std::getenv("OPENBLAS_CORETYPE")) {  // by the user, or by us in vain
    std::fprintf(stderr,
                 "warning: OpenBLAS runs its %s kernels (OPENBLAS_CORETYPE=%s) on a CPU with %s: this is slow\n",
                 core.c_str(), set, flag);
    return;
  }
  std::fprintf(stderr, "OpenBLAS chose its %s kernels on a CPU with %s; starting again with OPENBLAS_CORETYPE=%s\n",
               core.c_str(), flag, wanted);
  setenv("OPENBLAS_CORETYPE", wanted, 1);
  execv("/proc/self/exe", argv);
  std::perror("warning: could not start again");
#else
  (void)argv;
#endif
}

}  // namespace difftensor
