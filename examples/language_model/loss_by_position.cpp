#include "examples/language_model/loss_by_position.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/kernels/packed_weights.h"

namespace language_model {

using namespace difftensor;

int64_t LossByPosition::targets() const { return std::accumulate(count.begin(), count.end(), int64_t{0}); }

double LossByPosition::loss() const {
  return std::accumulate(nll.begin(), nll.end(), 0.0) / static_cast<double>(targets());
}

double LossByPosition::percent_right() const {
  return 100 * static_cast<double>(right) / static_cast<double>(targets());
}

double LossByPosition::bits_per_byte(int64_t bytes) const {
  return std::accumulate(nll.begin(), nll.end(), 0.0) / std::log(2) / static_cast<double>(bytes);
}

std::vector<LossByPosition::Part> LossByPosition::parts(int to_an_octave) const {
  std::vector<Part> parts;
  const auto places = static_cast<int64_t>(nll.size());
  for (int64_t first = 1, next; first <= places; first = next) {
    next = static_cast<int64_t>(std::lround(static_cast<double>(first) * std::pow(2, 1.0 / to_an_octave)));
    next = std::min(std::max(next, first + 1), places + 1);
    double sum = 0, tokens = 0;
    for (int64_t i = first - 1; i < next - 1; ++i) sum += nll[i], tokens += static_cast<double>(count[i]);
    if (tokens > 0) parts.push_back({first, next - 1, sum / tokens});
  }
  return parts;
}

std::vector<training::Point> LossByPosition::curve() const {
  std::vector<training::Point> points;
  for (const Part& part : parts(4)) points.push_back({static_cast<double>(part.first + part.last) / 2, part.loss});
  return points;
}

LossByPosition loss_by_position(const models::LanguageModel& model, const Corpus& corpus, int64_t length,
                                training::LambdaMeter* lambdas) {
  constexpr int64_t tokens_at_once = 512;  // enough to fill a matrix product; their logits are the largest thing here
  const NoGrad no_grad;
  kernels::PackedWeights weights;
  const kernels::PackedWeights::Scope scope(weights);
  LossByPosition result{std::vector<double>(length), std::vector<int64_t>(length)};
  Random random(1);  // the same cuts for every model
  const std::vector<Context> contexts = cut(corpus, length, random);
  for (const std::span<const Context> run : runs_of(contexts, tokens_at_once)) {
    const Batch batch = make_batch(corpus, run);
    const Tensor log_p = log_softmax(model(batch.ids, batch.lengths));
    if (lambdas) lambdas->add();
    const int64_t V = log_p.dim(1);
    const Scalar* row = log_p.data();
    size_t target = 0;
    for (const int64_t tokens : batch.lengths)
      for (int64_t place = 0; place < tokens; ++place, ++target, row += V) {
        const int32_t id = batch.targets[target];
        if (id == no_target) continue;
        result.nll[place] -= static_cast<double>(row[id]);
        ++result.count[place];
        result.right += std::max_element(row, row + V) == row + id;
      }
  }
  return result;
}

}  // namespace language_model
