#include "examples/needle/measure.h"

#include <algorithm>
#include <cmath>

#include "examples/training/lambdas.h"

namespace needle {

using namespace difftensor;

Score evaluate(const models::LanguageModel& model, const Retrieval& setting, int64_t count, Random random) {
  const NoGrad no_grad;
  Score score;
  std::array<double, 4> asked{};
  const int64_t at_once = std::max<int64_t>(1, 2048 / setting.length());
  for (int64_t done = 0; done < count; done += at_once) {
    const Questions q = sample(setting, std::min(at_once, count - done), random);
    const Tensor decoded = model.decode(q.ids, nn::packed_sequences(q.lengths));
    const Tensor log_p = log_softmax(model.logits(gather_rows(decoded, q.where)));
    const int64_t V = log_p.dim(1);
    const auto values = log_p.values();
    for (size_t i = 0; i < q.where.size(); ++i) {
      const auto row = values.begin() + static_cast<int64_t>(i) * V;
      const bool right = std::max_element(row, row + V) - row == q.answers[i];
      const int64_t place = q.evidence[i] % setting.length();
      const auto quarter = static_cast<size_t>(4 * place / setting.context);
      score.loss -= static_cast<double>(row[q.answers[i]]);
      score.accuracy += right, score.accuracy_by_depth[quarter] += right, ++asked[quarter];
    }
  }
  const auto questions = static_cast<double>(count * setting.queries);
  score.accuracy /= questions, score.loss /= questions;
  for (size_t i = 0; i < 4; ++i) score.accuracy_by_depth[i] /= std::max(1.0, asked[i]);
  return score;
}

namespace {

// The maps of a layer, from the queries and keys that it computed: those of plain_attention, row by row.
class Maps {
 public:
  Maps(const nn::AttentionTrace& trace, int64_t d)
      : trace_(trace), d_(d), q_heads_(trace.q.dim(1) / d), k_heads_(trace.k.dim(1) / d) {}

  int64_t count() const { return q_heads_; }
  // Scores of row `row` of q for rows [begin, row] of k, before softmax.
  std::vector<double> scores(int64_t map, int64_t begin, int64_t row) const {
    const Scalar* q = trace_.q.data() + row * q_heads_ * d_ + map * d_;
    // In version 2 both queries of a pair have one key head.
    const Scalar* k = trace_.k.data() + map * k_heads_ / q_heads_ * d_;
    std::vector<double> s;
    for (int64_t j = begin; j <= row; ++j) {
      double dot = 0;
      for (int64_t i = 0; i < d_; ++i) dot += static_cast<double>(q[i]) * static_cast<double>(k[j * k_heads_ * d_ + i]);
      s.push_back(dot / std::sqrt(static_cast<double>(d_)));
    }
    return s;
  }
  // Weights of output head `head`: A, or A1 - lambda A2.
  std::vector<double> weights(int64_t head, int64_t begin, int64_t row) const {
    if (!trace_.lambda.defined()) return softmax(scores(head, begin, row));
    std::vector<double> a = softmax(scores(2 * head, begin, row)), b = softmax(scores(2 * head + 1, begin, row));
    const int64_t at = trace_.lambda.numel() == 1 ? 0 : row * trace_.layout.heads + head;
    const auto lambda = static_cast<double>(trace_.lambda.data()[at]);
    for (size_t j = 0; j < a.size(); ++j) a[j] -= lambda * b[j];
    return a;
  }

 private:
  static std::vector<double> softmax(std::vector<double> s) {
    const double top = *std::max_element(s.begin(), s.end());
    double sum = 0;
    for (double& x : s) sum += x = std::exp(x - top);
    for (double& x : s) x /= sum;
    return s;
  }
  const nn::AttentionTrace& trace_;
  const int64_t d_, q_heads_, k_heads_;
};

}  // namespace

Mass attention_mass(const nn::AttentionTrace& trace, int64_t head_width, const Questions& questions,
                    Normalisation normalisation) {
  const Maps maps(trace, head_width);
  const auto heads = static_cast<size_t>(trace.layout.heads);
  const auto count = static_cast<double>(questions.where.size());
  std::vector<double> answer(heads), noise(heads);
  for (size_t i = 0; i < questions.where.size(); ++i) {
    const int64_t row = questions.where[i], begin = row - row % questions.lengths[0];
    const int64_t evidence = questions.evidence[i] - begin, last = row - begin;
    for (size_t h = 0; h < heads; ++h) {
      std::vector<double> a = maps.weights(static_cast<int64_t>(h), begin, row);
      double sum = 0;
      for (double& x : a) sum += normalisation == Normalisation::absolute ? x = std::abs(x) : x;
      // 1 - lambda may be next to nothing: as in the pilot, at least 0.001.
      if (normalisation == Normalisation::signed_sum) sum = std::max(sum, 1e-3);
      for (int64_t j = 0; j <= last; ++j) {
        const double part = a[static_cast<size_t>(j)] / sum / count;
        const bool neither = (evidence - 4 < j && j < evidence) || last - 4 < j;
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
  const Maps maps(trace, head_width);
  std::vector<float> all;
  for (const Span& span : trace.layout.queries)
    for (int64_t row = span.begin; row < span.begin + span.length; ++row)
      for (int64_t map = 0; map < maps.count(); ++map)
        for (const double score : maps.scores(map, span.begin, row)) all.push_back(static_cast<float>(score));
  return all;
}

nlohmann::json look_inside(const models::LanguageModel& model, const Questions& questions) {
  const NoGrad no_grad;
  const nn::Sequences texts = nn::packed_sequences(questions.lengths);
  nlohmann::json lambdas = nlohmann::json::array(), logits = lambdas, hidden = lambdas, mass = lambdas;
  Tensor x = model.embed(questions.ids, texts);
  for (const auto& layer : model.layers()) {
    nn::Attention& attention = *layer->self_attn;
    training::AttentionListener listener(attention);
    x = (*layer)(x, texts, nullptr, nullptr);
    const nn::AttentionTrace& trace = listener.trace;
    if (trace.lambda.defined()) lambdas.push_back(mean(trace.lambda).item());
    logits.push_back(outliers(attention_logits(trace, attention.head_width)));
    hidden.push_back(outliers(x.values()));
    nlohmann::json& of_layer = mass.emplace_back();
    for (const auto& [name, normalisation] :
         {std::pair{"signed", Normalisation::signed_sum}, std::pair{"absolute", Normalisation::absolute}}) {
      const Mass m = attention_mass(trace, attention.head_width, questions, normalisation);
      of_layer[name] = {m.answer, m.noise, m.best_answer, m.best_noise};
    }
  }
  return {{"lambda", lambdas}, {"logits", logits}, {"hidden", hidden}, {"mass", mass}};
}

}  // namespace needle
