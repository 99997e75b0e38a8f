#include "examples/language_model/attention_picture.h"

#include <deque>

namespace language_model {

using namespace difftensor;

AttentionFigure attention_picture(const TrainedModel& trained, const std::vector<int32_t>& ids, int layer, int head) {
  const NoGrad no_grad;
  std::deque<AttentionListener> layers;
  for (const auto& [name, attention] : attentions_of(*trained.model)) layers.emplace_back(*attention);
  (*trained.model)(ids, {static_cast<int64_t>(ids.size())});
  const auto maps = head_maps(layers);
  const int heads = trained.settings.heads;
  if (layer > trained.settings.layers || head > heads)
    throw InputError(format("there are %d layers of %d heads", trained.settings.layers.value, heads));
  const std::string where = "self-attention, layer ";
  AttentionFigure figure = layer == 0 ? most_decided_head(maps, where) : figure_of(maps, layer, head, where);
  for (const int32_t id : ids) figure.keys.push_back(trained.tokenizer.piece(id));
  figure.queries = figure.keys;
  return figure;
}

}  // namespace language_model
