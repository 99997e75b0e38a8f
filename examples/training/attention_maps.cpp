#include "examples/training/attention_maps.h"

namespace training {

using namespace difftensor;

std::vector<HeadMaps> head_maps(const nn::AttentionTrace& trace, size_t sentence) {
  const AttentionLayout& layout = trace.layout;
  const Span &queries = layout.queries.at(sentence), &keys = layout.keys.at(sentence);
  const int h = layout.heads, maps = trace.lambda.defined() ? 2 : 1;
  const int64_t width = trace.q.dim(1) / (maps * h);
  const Tensor Q = split_heads(trace.q, queries, maps * h);
  const Tensor K = split_heads(trace.k, keys, trace.k.dim(1) / width);
  const int64_t T = Q.dim(1), S = K.dim(1);
  std::vector<HeadMaps> heads;
  for (int head = 0; head < h; ++head) {
    const auto map = [&](int which) {
      const int query = maps * head + which, key = K.dim(0) == h ? head : query;  // version 2: one key head for a pair
      return reshape(attention_map(slice(Q, 0, query, query + 1), slice(K, 0, key, key + 1), layout.causal), {T, S});
    };
    HeadMaps m;
    m.a1 = m.difference = map(0);
    if (maps == 2) {
      m.a2 = map(1);
      m.lambda = trace.lambda.numel() == 1
                     ? trace.lambda
                     : slice(slice(trace.lambda, 0, queries.begin, queries.begin + T), 1, head, head + 1);
      m.difference = m.a1 - m.lambda * m.a2;
    }
    heads.push_back(m);
  }
  return heads;
}

std::vector<HeadMaps> head_maps(const nn::AttentionTrace& trace) {
  const size_t sentences = trace.layout.queries.size();
  require(sentences == 1, "head_maps", "a batch of ", sentences, " sentences, not one");
  return head_maps(trace, 0);
}

std::vector<std::vector<HeadMaps>> head_maps(const std::deque<AttentionListener>& layers) {
  std::vector<std::vector<HeadMaps>> maps;
  for (const AttentionListener& layer : layers) maps.push_back(head_maps(layer.trace));
  return maps;
}

AttentionFigure figure_of(const std::vector<std::vector<HeadMaps>>& layers, size_t layer, size_t head,
                          const std::string& where) {
  const HeadMaps& m = layers.at(layer - 1).at(head - 1);
  AttentionFigure figure;
  figure.title = where + std::to_string(layer) + ", head " + std::to_string(head) +
                 (m.lambda.numel() == 1 ? "" : " (λ is a mean: each token has its own)");
  figure.a1 = m.a1.values(), figure.a2 = m.a2.values(), figure.difference = m.difference.values();
  figure.lambda = mean(m.lambda).item();
  return figure;
}

AttentionFigure most_decided_head(const std::vector<std::vector<HeadMaps>>& layers, const std::string& where) {
  size_t best_layer = 1, best_head = 1;
  double most_decided = -1;
  for (size_t layer = 1; layer <= layers.size(); ++layer)
    for (size_t head = 1; head <= layers[layer - 1].size(); ++head) {
      const double decided = mean(max(layers[layer - 1][head - 1].difference, {1})).item();
      if (decided > most_decided) most_decided = decided, best_layer = layer, best_head = head;
    }
  return figure_of(layers, best_layer, best_head, where);
}

}  // namespace training
