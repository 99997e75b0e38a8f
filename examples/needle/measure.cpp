#include "examples/needle/measure.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "examples/training/attention_maps.h"
#include "examples/training/ranks.h"

namespace needle {

using namespace difftensor;

Score evaluate(const models::LanguageModel& model, const Retrieval& setting, int64_t count, Random random) {
  const NoGrad no_grad;
  const int64_t at_once = std::max<int64_t>(1, 2048 / setting.length());
  std::vector<Questions> batches;
  for (int64_t done = 0; done < count; done += at_once)
    batches.push_back(sample(setting, std::min(at_once, count - done), random));
  // The loss, the right ones, those of each quarter, and how many were asked there.
  const std::vector<double> sums = training::share_sum(static_cast<int64_t>(batches.size()), [&](int64_t batch) {
    const Questions& q = batches[batch];
    const Tensor decoded = model.decode(q.ids, nn::packed_sequences(q.lengths));
    const Tensor log_p = log_softmax(model.logits(gather_rows(decoded, q.where)));
    const int64_t V = log_p.dim(1);
    const auto values = log_p.values();
    std::vector<double> found(10);
    for (size_t i = 0; i < q.where.size(); ++i) {
      const auto row = values.begin() + static_cast<int64_t>(i) * V;
      const bool right = std::max_element(row, row + V) - row == q.answers[i];
      const int64_t place = q.evidence[i] % setting.length();
      const auto quarter = static_cast<size_t>(4 * place / setting.context);
      found[0] -= static_cast<double>(row[q.answers[i]]);
      found[1] += right, found[2 + quarter] += right, ++found[6 + quarter];
    }
    return found;
  });
  Score score;
  const auto questions = static_cast<double>(count * setting.queries);
  score.loss = sums[0] / questions, score.accuracy = sums[1] / questions;
  for (size_t i = 0; i < 4; ++i) score.accuracy_by_depth[i] = sums[2 + i] / std::max(1.0, sums[6 + i]);
  return score;
}

Mass attention_mass(const nn::AttentionTrace& trace, const Questions& questions, Normalisation normalisation) {
  const auto heads = static_cast<size_t>(trace.layout.heads);
  const int64_t T = questions.lengths[0];
  const size_t of_each = questions.where.size() / questions.lengths.size();
  const auto count = static_cast<double>(questions.where.size());
  std::vector<double> answer(heads), noise(heads);
  std::vector<training::HeadMaps> maps;
  for (size_t i = 0; i < questions.where.size(); ++i) {
    if (i % of_each == 0) maps = training::head_maps(trace, i / of_each);
    const int64_t row = questions.where[i] % T, evidence = questions.evidence[i] % T;
    for (size_t h = 0; h < heads; ++h) {
      const Scalar* weights = std::as_const(maps[h].difference).data() + row * T;
      std::vector<double> a(weights, weights + row + 1);
      double sum = 0;
      for (double& x : a) sum += normalisation == Normalisation::absolute ? x = std::abs(x) : x;
      // 1 - lambda may be next to nothing: as in the pilot, at least 0.001.
      if (normalisation == Normalisation::signed_sum) sum = std::max(sum, 1e-3);
      for (int64_t j = 0; j <= row; ++j) {
        const double part = a[static_cast<size_t>(j)] / sum / count;
        const bool neither = (evidence - 4 < j && j < evidence) || row - 4 < j;
        if (j == evidence)
          answer[h] += part;
        else if (!neither)
          noise[h] += part;
      }
    }
  }
  Mass mass;
  for (size_t h = 0; h < heads; ++h) {
    mass.answer += answer[h] / static_cast<double>(heads), mass.noise += noise[h] / static_cast<double>(heads);
    if (h == 0 || answer[h] > mass.best_answer) mass.best_answer = answer[h], mass.best_noise = noise[h];
  }
  return mass;
}

Outliers outliers(std::vector<float> values) {
  for (float& x : values) x = std::abs(x);
  std::sort(values.begin(), values.end(), std::greater<>());
  const auto ranked = [&](size_t rank) {
    return values.empty() ? 0.0 : static_cast<double>(values[std::min(rank, values.size()) - 1]);
  };
  return {ranked(1), ranked(2), ranked(3), ranked(10), ranked(100), ranked((values.size() + 1) / 2)};
}

std::vector<float> attention_logits(const nn::AttentionTrace& trace, int64_t head_width) {
  const int64_t maps = trace.q.dim(1) / head_width, keys = trace.k.dim(1) / head_width;
  std::vector<float> all;
  for (const Span& span : trace.layout.queries) {
    const Tensor Q = split_heads(trace.q, span, maps), K = split_heads(trace.k, span, keys);
    for (int64_t map = 0; map < maps; ++map) {
      // In version 2 both queries of a pair have one key head.
      const int64_t key = map * keys / maps;
      const Tensor scores = matmul(slice(Q, 0, map, map + 1), slice(K, 0, key, key + 1), false, true) /
                            std::sqrt(static_cast<Scalar>(head_width));
      for (int64_t i = 0; i < span.length; ++i)
        all.insert(all.end(), scores.data() + i * span.length, scores.data() + i * span.length + i + 1);
    }
  }
  return all;
}

nlohmann::json look_inside(const models::LanguageModel& model, const Questions& questions) {
  const NoGrad no_grad;
  const nn::Sequences texts = nn::packed_sequences(questions.lengths);
  nlohmann::json lambdas = nlohmann::json::array(), logits = lambdas, hidden = lambdas, mass = lambdas;
  Tensor x = model.embed(questions.ids, texts);
  for (const auto* layer : model.layers()) {
    nn::Attention& attention = layer->self_attn;
    training::AttentionListener listener(attention);
    x = (*layer)(x, texts, nullptr, nullptr);
    const nn::AttentionTrace& trace = listener.trace;
    if (trace.lambda.defined()) lambdas.push_back(mean(trace.lambda).item());
    logits.push_back(outliers(attention_logits(trace, attention.head_width)));
    hidden.push_back(outliers(x.values()));
    nlohmann::json& of_layer = mass.emplace_back();
    for (const auto& [name, normalisation] :
         {std::pair{"signed", Normalisation::signed_sum}, std::pair{"absolute", Normalisation::absolute}}) {
      const Mass m = attention_mass(trace, questions, normalisation);
      of_layer[name] = {m.answer, m.noise, m.best_answer, m.best_noise};
    }
  }
  return {{"lambda", lambdas}, {"logits", logits}, {"hidden", hidden}, {"mass", mass}};
}

}  // namespace needle
