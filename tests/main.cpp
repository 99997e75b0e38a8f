#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include "examples/training/fast_blas.h"

int main(int argc, char** argv) {
  ensure_fast_blas(argv);
  return doctest::Context(argc, argv).run();
}
