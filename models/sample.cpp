#include "models/sample.h"

#include <algorithm>
#include <cmath>

#include "core/kernels/packed_weights.h"
#include "core/kernels/parallel.h"

namespace difftensor::inline DT_PRECISION::models {
namespace {

void check(const SampleOptions& o) {
  require(o.temperature >= 0 && std::isfinite(o.temperature), "sample", "temperature ", o.temperature,
          " must be finite and not negative");
  require(o.top_k >= 0, "sample", "top_k ", o.top_k, " must not be negative");
  require(o.top_p > 0 && o.top_p <= 1, "sample", "top_p ", o.top_p, " must be above 0 and at most 1");
  require(o.max_tokens >= 0 && o.max_tokens <= int64_t{1} << 40, "sample", "max_tokens ", o.max_tokens,
          " must be from 0 to 2^40");
  require(o.window == 0 || o.window >= 2, "sample", "window ", o.window, " must be at least 2, or 0 for none");
}

// The token at which the running sum of probabilities passes u, uniform on [0, 1).
int32_t draw(const std::vector<NextToken>& candidates, double u) {
  for (const NextToken& c : candidates) {
    if (u < c.probability) return c.token;
    u -= c.probability;
  }
  return candidates.back().token;  // the sum rounded to a little less than 1
}

// A text as far as it is written.
struct Text {
  size_t index;
  std::vector<int32_t> tokens;  // its prompt first
  Random random;
  size_t limit;  // tokens when it is done
};

// Goes on without the texts that are done.
void drop(const std::vector<bool>& done, std::vector<Text>& open, std::vector<KeyValueCache>& caches) {
  std::vector<int32_t> rows;
  std::vector<Text> still_open;
  for (size_t row = 0; row < open.size(); ++row)
    if (!done[row]) {
      rows.push_back(static_cast<int32_t>(row));
      still_open.push_back(std::move(open[row]));
    }
  open = std::move(still_open);
  if (rows.size() < done.size())
    for (KeyValueCache& cache : caches) cache.select(rows);
}

}  // namespace

std::vector<NextToken> candidates(const Scalar* logits, int64_t V, const SampleOptions& o) {
  check(o);
  require(V > 0, "sample", "there are no logits");
  std::vector<int32_t> ids(V);
  bool finite = true;
  for (int64_t i = 0; i < V; ++i) {
    ids[i] = static_cast<int32_t>(i);
    finite = finite && !std::isnan(logits[i]);
  }
  const int64_t most = o.temperature == 0 ? 1 : o.top_k == 0 ? V : std::min(o.top_k, V);
  const auto likelier = [&](int32_t a, int32_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; };
  if (finite) std::partial_sort(ids.begin(), ids.begin() + most, ids.end(), likelier);
  require(finite && std::isfinite(logits[ids[0]]), "sample",
          "the model's scores are not finite: its parameters are damaged, or its training went astray");

  std::vector<NextToken> kept;
  double sum = 0;
  for (int64_t rank = 0; rank < most; ++rank) {
    const double behind = static_cast<double>(logits[ids[rank]]) - static_cast<double>(logits[ids[0]]);
    kept.push_back({ids[rank], rank == 0 ? 1 : std::exp(behind / o.temperature)});
    sum += kept.back().probability;
  }
  if (o.top_p < 1) {
    double part = 0;
    size_t count = 0;
    while (count < kept.size() && part < o.top_p * sum) part += kept[count++].probability;
    kept.resize(count);
    sum = part;
  }
  for (NextToken& c : kept) c.probability /= sum;
  return kept;
}

std::vector<std::vector<int32_t>> sample(const LanguageModel& model, const std::vector<std::vector<int32_t>>& prompts,
                                         const SampleOptions& o, const std::function<void(size_t, int32_t)>& written) {
  check(o);
  require(!model.training(), "sample", "the model is in training mode: call eval() first");
  std::vector<Text> open;
  size_t longest = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    require(!prompts[i].empty(), "sample", "prompt ", i, " is empty: there must be a token to begin after");
    const size_t limit = prompts[i].size() + static_cast<size_t>(o.max_tokens);
    if (o.max_tokens > 0) open.push_back({i, prompts[i], Random(o.seed, i + 1), limit});
    longest = std::max(longest, limit);
  }

  const NoGrad no_grad;
  kernels::PackedWeights weights;
  const kernels::PackedWeights::Scope scope(weights);
  std::vector<std::vector<int32_t>> results(prompts.size());
  const size_t all = std::max<size_t>(longest, 2),
               window = o.window ? std::min(static_cast<size_t>(o.window), all) : all;
  // The model sees tokens begin, begin + 1, ... of every text.
  for (size_t begin = 0; !open.empty(); begin += window - window / 2) {
    std::vector<KeyValueCache> caches =
        model.make_caches(static_cast<int64_t>(open.size()), static_cast<int64_t>(window));
    for (size_t position = 0; position < window && !open.empty(); ++position) {
      std::vector<int32_t> tokens, at_end;  // at_end: rows of texts whose next token is to be drawn
      for (const Text& text : open) {
        tokens.push_back(text.tokens[begin + position]);
        if (begin + position + 1 == text.tokens.size()) at_end.push_back(static_cast<int32_t>(tokens.size()) - 1);
      }
      const Tensor decoded = model.step(tokens, static_cast<int32_t>(position), caches);
      if (at_end.empty()) continue;
      const Tensor logits = model.logits(gather_rows(decoded, at_end));
      const int64_t V = logits.dim(1);
      std::vector<int32_t> drawn(at_end.size());
      parallel_for(logits.dim(0), 1, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i)
          drawn[i] = draw(candidates(logits.data() + i * V, V, o), open[at_end[i]].random.uniform_double());
      });

      std::vector<bool> done(open.size(), false);
      for (size_t i = 0; i < at_end.size(); ++i) {
        Text& text = open[at_end[i]];
        if (drawn[i] != o.end) {
          text.tokens.push_back(drawn[i]);
          results[text.index].push_back(drawn[i]);
          if (written) written(text.index, drawn[i]);
        }
        done[at_end[i]] = drawn[i] == o.end || text.tokens.size() == text.limit;
      }
      drop(done, open, caches);
    }
  }
  return results;
}

}  // namespace difftensor::inline DT_PRECISION::models
