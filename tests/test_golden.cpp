// Every file in tests/golden: the whole model against PyTorch's numbers.
#include "core/ops.h"
#include "core/safetensors.h"
#include "tests/golden_check.h"
#include "tests/testing.h"

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
  CHECK(files >= 16);
}

namespace {
// Files that differ from a right one in a number of one of these tensors must fail.
void wrong_numbers_fail(const std::string& golden, std::vector<std::string> names, const std::string& final) {
  TemporaryFolder folder;
  const std::string path = folder / "wrong.safetensors";
  const SafeTensors right = load_safetensors(golden);
  save_safetensors(path, right);
  CHECK(check_golden(path).ok());
  if (sizeof(Scalar) == 8) names.push_back(final);
  for (const std::string& name : names)
    for (bool nan : {true, false}) {
      CAPTURE(name);
      CAPTURE(nan);
      SafeTensors wrong = right;
      Tensor& t = wrong.tensors.at(name) = right.tensors.at(name).clone();
      // The first element, so that good ones follow it. In float, losses may be off by 1e-3 of the largest.
      t.data()[0] += nan ? NAN : Scalar(name.starts_with("out.loss") ? 1e-2 : 1e-3) * max(maximum(t, -t)).item();
      save_safetensors(path, wrong);
      const GoldenResult result = check_golden(path);
      CHECK_FALSE(result.ok());
      CHECK(result.where.starts_with(name + " "));
    }
}
}  // namespace

TEST_CASE("a golden file with one wrong number fails") {
  wrong_numbers_fail(
      "tests/golden/diff-llama.safetensors",
      {"out.encoder", "out.logits", "out.loss", "out.losses", "grad.embedding.weight", "grad.decoder.norm.weight"},
      "final.encoder.norm.weight");
  wrong_numbers_fail("tests/golden/language-model-softmax-norm.safetensors",
                     {"out.logits", "out.loss", "out.losses", "grad.output.weight",
                      "grad.layers.1.self_attn.subln.weight", "grad.norm.weight"},
                     "final.output.weight");
}

TEST_CASE("a golden file of a language model that does not fit says why") {
  TemporaryFolder folder;
  const std::string path = folder / "wrong.safetensors";
  const SafeTensors right = load_safetensors("tests/golden/language-model-diff-0.5.safetensors");
  const auto outcome = [&](auto change) {
    SafeTensors wrong = right;
    change(wrong);
    save_safetensors(path, wrong);
    return error_of([&] {
      if (!check_golden(path).ok()) throw std::runtime_error("other numbers");
    });
  };
  CHECK(outcome([](auto&) {}) == "no error");
  CHECK(outcome([](auto& f) { f.metadata["lambda_init"] = "0.6"; }) == "other numbers");
  CHECK(outcome([](auto& f) { f.metadata.erase("lambda_init"); }) == "other numbers");
  CHECK(contains(outcome([](auto& f) { f.metadata["head_norm"] = "False"; }), "subln"));
  CHECK(contains(outcome([](auto& f) { f.metadata["tied"] = "False"; }), "output.weight"));
  CHECK(outcome([](auto& f) { f.metadata["tied"] = "no"; }) ==
        "golden: " + path + ": setting tied is \"no\", not True or False");
  CHECK(outcome([](auto& f) {
          f.integers["in.lengths"] = {{9, 1, 15}, {3}};
        }) == "golden: " + path + ": in.lengths has a length of 1 where 16 ids are left; at least 2 is needed");
}

TEST_CASE("a golden file that does not fit fails or is refused, and says why") {
  TemporaryFolder folder;
  const std::string path = folder / "wrong.safetensors";
  const SafeTensors right = load_safetensors("tests/golden/diff-llama.safetensors");
  const auto outcome = [&](auto change) {
    SafeTensors wrong = right;
    change(wrong);
    save_safetensors(path, wrong);
    return error_of([&] {
      const GoldenResult result = check_golden(path);
      if (!result.ok()) throw std::runtime_error(result.where);
    });
  };
  CHECK(outcome([](auto&) {}) == "no error");

  CHECK(outcome([](auto& f) { f.tensors["out.logits"] = reshape(f.tensors["out.logits"], {-1}); }) ==
        "out.logits: another shape");
  CHECK(outcome([](auto& f) { f.tensors["out.attention"] = ones({2}); }) ==
        "out.attention: nothing here has that name");
  CHECK(outcome([](auto& f) { f.tensors["grad.embedding.bias"] = ones({2}); }) ==
        "grad.embedding.bias: nothing here has that name");
  CHECK(outcome([](auto& f) { f.integers["out.best"] = {{1}, {1}}; }) == "out.best: nothing here has that name");
  CHECK(outcome([](auto& f) { f.tensors["final.embedding.bias"] = ones({2}); }) ==
        (sizeof(Scalar) == 8 ? "final.embedding.bias: nothing here has that name" : "no error"));

  const std::string golden = "golden: " + path + ": ";
  CHECK(outcome([](auto& f) { f.metadata.erase("eps"); }) == golden + "no setting eps");
  CHECK(outcome([](auto& f) { f.metadata["lr"] = "fast"; }) == golden + "setting lr is \"fast\", not a number");
  CHECK(outcome([](auto& f) { f.metadata["lr"] = "0.003x"; }) == golden + "setting lr is \"0.003x\", not a number");
  CHECK(outcome([](auto& f) { f.metadata["lr"] = "nan"; }) == golden + "setting lr is \"nan\", not a number");
  CHECK(outcome([](auto& f) { f.metadata["heads"] = "2.5"; }) ==
        golden + "setting heads is \"2.5\", not a whole number");
  CHECK(outcome([](auto& f) { f.metadata["vocab"] = ""; }) == golden + "setting vocab is \"\", not a whole number");
  CHECK(outcome([](auto& f) { f.metadata["steps"] = "0"; }) == golden + "setting steps is 0, less than 1");
  CHECK(outcome([](auto& f) { f.integers.erase("in.src"); }) == golden + "no integers in.src");
  CHECK(outcome([](auto& f) { f.integers["in.src"].values[3] = 37; }) ==
        golden + "in.src has the id 37 in a vocabulary of 37");
  CHECK(outcome([](auto& f) { f.integers["in.tgt"].values[3] = (int64_t{1} << 32) + 5; }) ==
        golden + "in.tgt has the id 4294967301 in a vocabulary of 37");
  CHECK(outcome([](auto& f) {
          f.integers["in.src_lengths"] = {{5, 3, 6}, {3}};
        }) == golden + "1 ids of in.src belong to no sentence");
  CHECK(outcome([](auto& f) {
          f.integers["in.src_lengths"] = {{5, 3, 8}, {3}};
        }) == golden + "in.src_lengths has a length of 8 where 7 ids are left; at least 1 is needed");
  CHECK(outcome([](auto& f) {
          f.integers["in.src_lengths"] = {{15, 0, 0}, {3}};
        }) == golden + "in.src_lengths has a length of 0 where 0 ids are left; at least 1 is needed");
  CHECK(outcome([](auto& f) {
          f.integers["in.tgt_lengths"] = {{6, 6, 1}, {3}};
        }) == golden + "in.tgt_lengths has a length of 1 where 1 ids are left; at least 2 is needed");
  CHECK(outcome([](auto& f) { f.integers["in.src_lengths"] = {{15}, {1}}; }) == golden + "1 sources and 3 targets");
}

TEST_CASE("no comparison of the tests overlooks a NaN") {
  CHECK(worse(NAN, 0) == INFINITY);
  CHECK(worse(0, NAN) == INFINITY);
  CHECK(worse(1, 2) == 2);
  CHECK(largest_difference(tensor({NAN, 1}, {2}), tensor({0, 1}, {2})) == INFINITY);
  CHECK(largest_difference(tensor({0, 1}, {2}), tensor({0, NAN}, {2})) == INFINITY);
}
