#include "examples/language_model/loss_by_position.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/kernels/packed_weights.h"
#include "examples/training/ranks.h"

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
                                const training::NamedAttentions& attentions) {
  constexpr int64_t tokens_at_once = 512;  // enough to fill a matrix product; their logits are the largest thing here
  const NoGrad no_grad;
  kernels::PackedWeights weights;
  const kernels::PackedWeights::Scope scope(weights);
  const training::LambdaMeter lambdas(attentions);
  Random random(1);  // the same cuts for every model
  const std::vector<Context> contexts = cut(corpus, length, random);
  const std::vector<std::span<const Context>> runs = runs_of(contexts, tokens_at_once);
  // For each place the loss, then for each the tokens; the right ones; the lambdas.
  const std::vector<double> sums = training::share_sum(static_cast<int64_t>(runs.size()), [&](int64_t run) {
    const Batch batch = make_batch(corpus, runs[run]);
    const Tensor log_p = log_softmax(model(batch.ids, batch.lengths));
    std::vector<double> found(2 * length + 1);
    const int64_t V = log_p.dim(1);
    const Scalar* row = log_p.data();
    size_t target = 0;
    for (const int64_t tokens : batch.lengths)
      for (int64_t place = 0; place < tokens; ++place, ++target, row += V) {
        const int32_t id = batch.targets[target];
        if (id == no_target) continue;
        found[place] -= static_cast<double>(row[id]);
        ++found[length + place];
        found[2 * length] += std::max_element(row, row + V) == row + id;
      }
    lambdas.append_sums(found);
    return found;
  });
  LossByPosition result;
  result.nll = {sums.begin(), sums.begin() + length};
  result.count = {sums.begin() + length, sums.begin() + 2 * length};
  result.right = static_cast<int64_t>(sums[2 * length]);
  result.lambdas = training::LambdaMeter::means(std::span(sums).subspan(2 * length + 1));
  return result;
}

}  // namespace language_model
