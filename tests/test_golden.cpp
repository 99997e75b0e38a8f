// Every file in tests/golden: the whole model against PyTorch's numbers.
#include <doctest/doctest.h>

#include <filesystem>

#include "tests/golden_check.h"

using namespace difftensor;

TEST_CASE("the model computes PyTorch's numbers") {
  int files = 0;
  for (auto& entry : std::filesystem::directory_iterator("tests/golden")) {
    if (entry.path().extension() != ".safetensors") continue;
    ++files;
    const GoldenResult result = check_golden(entry.path().string());
    CAPTURE(entry.path().string());
    CAPTURE(result.where);
    CHECK(result.ok());
  }
  CHECK(files >= 9);
}
