#include "examples/needle/arms.h"

namespace needle {

namespace models = difftensor::models;

namespace {
models::LanguageModelConfig base(int64_t vocab) {
  models::LanguageModelConfig c;
  c.vocab = vocab, c.layers = 2, c.tied_output = false;
  c.d_model = 128, c.ff = 256, c.heads = 4;
  return c;
}
}  // namespace

models::LanguageModelConfig arm_config(const std::string& arm, int64_t vocab) {
  return training::arm_config(arm, base(vocab));
}

std::unique_ptr<models::LanguageModel> make_model(const std::string& arm, int64_t vocab, uint64_t seed) {
  return training::make_arm(arm, base(vocab), seed);
}

}  // namespace needle
