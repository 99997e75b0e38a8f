#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include "core/fast_blas.h"

int main(int argc, char** argv) {
  difftensor::ensure_fast_blas(argv);
  return doctest::Context(argc, argv).run();
}
