// 8. Sorting: an encoder reads a list of digits, a decoder writes it sorted. Nobody tells it what sorting is.
#include <algorithm>
#include <cstdio>

#include "models/decode.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"

using namespace difftensor;

constexpr int32_t BOS = 1, EOS = 2, zero = 3;  // a list's begin and end; digit n is the token 3 + n

std::vector<int32_t> draw_list(Random& random) {
  std::vector<int32_t> list(4 + random.below(7));
  for (int32_t& token : list) token = zero + static_cast<int32_t>(random.below(10));
  return list;
}
std::string text(const std::vector<int32_t>& list) {
  std::string digits;
  for (int32_t token : list) digits += static_cast<char>('0' + token - zero);
  return digits;
}

int main() {
  Random random(1);
  models::TransformerConfig config;
  config.vocab = 13, config.d_model = 32, config.ff = 64, config.encoder_layers = config.decoder_layers = 2;
  models::Transformer model(config, random);
  optim::AdamW optimizer(model.parameters(), 0);
  const optim::Schedule schedule = optim::cosine(0.005, 50, 1000);  // steps that grow at first, then shrink to nothing

  for (int update = 1; update <= 1000; ++update) {
    optimizer.set_lr(schedule(update));
    std::vector<int32_t> source, target_in, target_out;  // lists laid end to end
    std::vector<int64_t> lengths;
    for (int i = 0; i < 32; ++i) {
      std::vector<int32_t> list = draw_list(random);
      source.insert(source.end(), list.begin(), list.end());
      source.push_back(EOS);
      std::sort(list.begin(), list.end());
      target_in.push_back(BOS);  // the decoder sees what it should have written so far ...
      target_in.insert(target_in.end(), list.begin(), list.end());
      target_out.insert(target_out.end(), list.begin(), list.end());  // ... and is to say what comes next
      target_out.push_back(EOS);
      lengths.push_back(static_cast<int64_t>(list.size()) + 1);
    }
    const Tensor loss = model.loss(source, lengths, target_in, lengths, target_out);
    if (update % 250 == 0) std::printf("update %4d  loss %.3f\n", update, loss.item());
    loss.backward();
    optimizer.step();
    optimizer.zero_grad();
  }

  model.eval();
  int sorted = 0;
  for (int i = 0; i < 500; ++i) {
    std::vector<int32_t> list = draw_list(random), source = list;
    source.push_back(EOS);
    const std::vector<int32_t> written = models::decode(model, {source})[0][0].tokens;
    std::sort(list.begin(), list.end());
    sorted += written == list;
    source.pop_back();
    if (i < 5) std::printf("%-10s -> %s\n", text(source).c_str(), text(written).c_str());
  }
  std::printf("%d of 500 more lists are sorted\n", sorted);
}
