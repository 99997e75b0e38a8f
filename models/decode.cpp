#include "models/decode.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace difftensor::inline DT_PRECISION::models {
namespace {

// Some sentences on their way through the decoder: one row per open hypothesis, several of them per sentence in beam
// search.
class Decoding {
 public:
  Decoding(const Transformer& model, const std::vector<std::vector<int32_t>>& sources, int64_t capacity)
      : model_(model) {
    std::vector<int32_t> ids;
    std::vector<int64_t> lengths;
    for (auto& source : sources) {
      ids.insert(ids.end(), source.begin(), source.end());
      lengths.push_back(static_cast<int64_t>(source.size()));
    }
    const nn::Sequences sentences = nn::packed_sequences(lengths);
    memory_ = model.memory_keys_values(model.encode(ids, sentences), sentences);
    for (size_t layer = 0; layer < memory_.size(); ++layer)
      caches_.emplace_back(static_cast<int64_t>(sources.size()), capacity, model.config.d_model);
  }
  // log softmax over the next word for every row, after `tokens` were added to the rows.
  Tensor next(const std::vector<int32_t>& tokens) {
    const Tensor log_p = log_softmax(model_.logits(model_.step(tokens, position_++, memory_, caches_)));
    require(std::all_of(log_p.data(), log_p.data() + log_p.numel(), [](Scalar x) { return std::isfinite(x); }),
            "decode", "the model's scores are not finite: its parameters are damaged, or its training went astray");
    return log_p;
  }
  // Goes on with these rows. Rows of one sentence share its encoder keys and values, which are never copied.
  void select(const std::vector<int32_t>& rows) {
    for (auto& cache : caches_) cache.select(rows);
    for (auto& memory : memory_) {
      Spans spans;
      for (int32_t row : rows) spans.push_back(memory.spans[row]);
      memory.spans = spans;
    }
  }

 private:
  const Transformer& model_;
  std::vector<nn::KeyValues> memory_;
  std::vector<KeyValueCache> caches_;
  int32_t position_ = 0;
};

struct Open {  // a hypothesis not yet ended
  int sentence;
  std::vector<int32_t> tokens;  // without BOS
  double log_p = 0;
};

struct Candidate {
  int32_t row, token;
  double log_p;
};

// The `count` likeliest words of a row, likeliest first; of equals, the one with the lower id.
void add_best(const Scalar* log_p, int64_t V, int count, int32_t row, double so_far, std::vector<Candidate>& into) {
  std::vector<int32_t> ids(V);
  std::iota(ids.begin(), ids.end(), 0);
  count = static_cast<int>(std::min<int64_t>(count, V));
  std::partial_sort(ids.begin(), ids.begin() + count, ids.end(),
                    [log_p](int32_t a, int32_t b) { return log_p[a] != log_p[b] ? log_p[a] > log_p[b] : a < b; });
  for (int i = 0; i < count; ++i) into.push_back({row, ids[i], so_far + log_p[ids[i]]});
}

std::vector<std::vector<Hypothesis>> decode_batch(const Transformer& model,
                                                  const std::vector<std::vector<int32_t>>& sources,
                                                  const DecodeOptions& o) {
  std::vector<int64_t> limit;
  for (auto& source : sources)
    limit.push_back(static_cast<int64_t>(o.max_length_factor * static_cast<double>(source.size())) +
                    o.max_length_extra);
  const int64_t longest = *std::max_element(limit.begin(), limit.end());
  auto score = [&](double log_p, int64_t length) {
    return log_p / std::pow(static_cast<double>(length), o.length_penalty);
  };

  Decoding decoding(model, sources, longest);
  std::vector<std::vector<Hypothesis>> done(sources.size());
  std::vector<Open> open;
  for (size_t i = 0; i < sources.size(); ++i) open.push_back({static_cast<int>(i), {}, 0});

  while (!open.empty()) {
    std::vector<int32_t> last;
    for (auto& hypothesis : open) last.push_back(hypothesis.tokens.empty() ? o.bos : hypothesis.tokens.back());
    const Tensor log_p = decoding.next(last);
    const int64_t V = log_p.dim(1);

    std::vector<Open> kept;
    std::vector<int32_t> parents;
    for (size_t first = 0, end; first < open.size(); first = end) {  // the rows of one sentence lie together
      const int sentence = open[first].sentence;
      for (end = first; end < open.size() && open[end].sentence == sentence;) ++end;
      const int64_t length = static_cast<int64_t>(open[first].tokens.size()) + 1;

      std::vector<Candidate> candidates;
      for (size_t row = first; row < end; ++row)
        add_best(log_p.data() + static_cast<int64_t>(row) * V, V, o.beam == 1 ? 1 : 2 * o.beam,
                 static_cast<int32_t>(row), open[row].log_p, candidates);
      std::stable_sort(candidates.begin(), candidates.end(),
                       [](const Candidate& a, const Candidate& b) { return a.log_p > b.log_p; });

      // Of the best candidates, those that end are set aside if they rank among the first `beam`; the others stay open.
      std::vector<Open> next;
      std::vector<int32_t> next_parents;
      for (size_t rank = 0; rank < candidates.size() && static_cast<int>(next.size()) < o.beam; ++rank) {
        const Candidate& c = candidates[rank];
        std::vector<int32_t> tokens = open[c.row].tokens;
        if (c.token == o.eos) {
          if (static_cast<int>(rank) < o.beam) done[sentence].push_back({tokens, score(c.log_p, length)});
          continue;
        }
        tokens.push_back(c.token);
        next.push_back({sentence, tokens, c.log_p});
        next_parents.push_back(c.row);
      }
      auto& finished = done[sentence];
      std::stable_sort(finished.begin(), finished.end(),
                       [](const Hypothesis& a, const Hypothesis& b) { return a.score > b.score; });
      if (static_cast<int>(finished.size()) > o.beam) finished.resize(o.beam);

      bool stop = length >= limit[sentence] || next.empty();
      if (stop && finished.empty())  // it never ended: what there is, is the translation
        for (auto& hypothesis : next) finished.push_back({hypothesis.tokens, score(hypothesis.log_p, length)});
      if (static_cast<int>(finished.size()) == o.beam && !stop)
        stop = score(next[0].log_p, limit[sentence]) <= finished.back().score;
      if (o.beam == 1 && !finished.empty()) stop = true;
      if (stop) continue;
      kept.insert(kept.end(), next.begin(), next.end());
      parents.insert(parents.end(), next_parents.begin(), next_parents.end());
    }
    std::vector<int32_t> all(open.size());
    std::iota(all.begin(), all.end(), 0);
    if (!kept.empty() && parents != all) decoding.select(parents);
    open = std::move(kept);
  }
  return done;
}

}  // namespace

std::vector<std::vector<Hypothesis>> decode(const Transformer& model, const std::vector<std::vector<int32_t>>& sources,
                                            const DecodeOptions& options,
                                            const std::function<void(int64_t)>& finished) {
  require(options.beam >= 1 && options.batch_size >= 1, "decode", "beam ", options.beam, " and batch size ",
          options.batch_size, " must be at least 1");
  require(options.length_penalty >= 0 && std::isfinite(options.length_penalty), "decode", "length penalty ",
          options.length_penalty, " must be finite and not negative");
  require(!model.training(), "decode", "the model is in training mode: call eval() first");
  NoGrad no_grad;
  std::vector<size_t> order(sources.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return sources[a].size() < sources[b].size(); });

  std::vector<std::vector<Hypothesis>> results(sources.size());
  for (size_t begin = 0; begin < order.size(); begin += options.batch_size) {
    const size_t end = std::min(order.size(), begin + static_cast<size_t>(options.batch_size));
    std::vector<std::vector<int32_t>> batch;
    for (size_t i = begin; i < end; ++i) batch.push_back(sources[order[i]]);
    auto found = decode_batch(model, batch, options);
    for (size_t i = begin; i < end; ++i) results[order[i]] = std::move(found[i - begin]);
    if (finished) finished(static_cast<int64_t>(end));
  }
  return results;
}

}  // namespace difftensor::inline DT_PRECISION::models
