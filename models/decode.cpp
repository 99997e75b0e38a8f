#include "models/decode.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <numeric>

#include "core/kernels/packed_weights.h"
#include "core/kernels/parallel.h"
#include "core/kernels/softmax.h"

namespace difftensor::inline DT_PRECISION::models {
namespace {

struct Word {
  int32_t token;
  double log_p;
};

// The `count` largest of the logits x (V), largest first, with log softmax(x); of equals, the one with the lower id.
std::vector<Word> likeliest(const Scalar* x, int64_t V, int count) {
  constexpr int64_t block = 256;  // its maximum takes 16 steps; most blocks hold nothing of interest
  std::vector<Word> best;
  for (int64_t begin = 0; begin < V; begin += block) {
    const int64_t end = std::min(V, begin + block);
    const auto of_interest = [&](Scalar value) {
      return static_cast<int>(best.size()) < count || static_cast<double>(value) > best.back().log_p;
    };
    if (!of_interest(kernels::row_max(x + begin, end - begin))) continue;
    for (int64_t v = begin; v < end; ++v) {
      if (!of_interest(x[v])) continue;
      const Word word{static_cast<int32_t>(v), static_cast<double>(x[v])};
      best.insert(std::upper_bound(best.begin(), best.end(), word,
                                   [](const Word& a, const Word& b) { return a.log_p > b.log_p; }),
                  word);
      if (static_cast<int>(best.size()) > count) best.pop_back();
    }
  }
  const double log_sum = static_cast<double>(kernels::log_sum_exp(x, V));
  for (Word& word : best) word.log_p -= log_sum;
  return best;
}

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
  // The `count` likeliest next words of every row, likeliest first, after `tokens` were added to the rows.
  std::vector<std::vector<Word>> next(const std::vector<int32_t>& tokens, int count) {
    const Tensor logits = model_.logits(model_.step(tokens, position_++, memory_, caches_));
    const int64_t rows = logits.dim(0), V = logits.dim(1);
    std::vector<std::vector<Word>> words(rows);
    parallel_for(rows, 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) words[row] = likeliest(logits.data() + row * V, V, count);
    });
    for (const auto& row : words)
      require(!row.empty() && std::isfinite(row[0].log_p), "decode",
              "the model's scores are not finite: its parameters are damaged, or its training went astray");
    return words;
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

std::vector<std::vector<Hypothesis>> decode_batch(const Transformer& model,
                                                  const std::vector<std::vector<int32_t>>& sources,
                                                  const DecodeOptions& o) {
  std::vector<int64_t> limit;
  for (auto& source : sources) limit.push_back(o.max_length(static_cast<int64_t>(source.size())));
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
    const auto words = decoding.next(last, o.beam == 1 ? 1 : 2 * o.beam);

    std::vector<Open> kept;
    std::vector<int32_t> parents;
    for (size_t first = 0, end; first < open.size(); first = end) {  // the rows of one sentence lie together
      const int sentence = open[first].sentence;
      for (end = first; end < open.size() && open[end].sentence == sentence;) ++end;
      const int64_t length = static_cast<int64_t>(open[first].tokens.size()) + 1;

      std::vector<Candidate> candidates;
      for (size_t row = first; row < end; ++row)
        for (const Word& word : words[row])
          candidates.push_back({static_cast<int32_t>(row), word.token, open[row].log_p + word.log_p});
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
  require(options.max_length_factor >= 0 && options.max_length_factor <= 1e6 && options.max_length(1) >= 1, "decode",
          "translations of at most ", options.max_length_factor, " times the source and ", options.max_length_extra,
          " tokens");
  require(!model.training(), "decode", "the model is in training mode: call eval() first");
  std::vector<size_t> order(sources.size());
  std::iota(order.begin(), order.end(), size_t{0});
  // Sentences of one length together, and the long ones first: the last batches, when threads run out of work, are
  // short.
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return sources[a].size() > sources[b].size(); });

  kernels::PackedWeights weights;
  // A batch at a time on each thread; a single one is shared by the threads inside its ops.
  std::vector<std::vector<Hypothesis>> results(sources.size());
  const int64_t size = options.batch_size, count = static_cast<int64_t>(order.size()),
                batches = (count + size - 1) / size;
  int64_t done = 0;
  std::exception_ptr error;
#pragma omp parallel for schedule(dynamic, 1) if (batches > 1)
  for (int64_t b = 0; b < batches; ++b) try {
      const NoGrad no_grad;
      const kernels::PackedWeights::Scope scope(weights);
      const int64_t begin = b * size, end = std::min(count, begin + size);
      std::vector<std::vector<int32_t>> batch;
      for (int64_t i = begin; i < end; ++i) batch.push_back(sources[order[i]]);
      auto found = decode_batch(model, batch, options);
#pragma omp critical(difftensor_decode)
      {
        for (int64_t i = begin; i < end; ++i) results[order[i]] = std::move(found[i - begin]);
        done += end - begin;
        if (finished && !error) finished(done);
      }
    } catch (...) {
#pragma omp critical(difftensor_decode)
      error = std::current_exception();
    }
  if (error) std::rethrow_exception(error);
  return results;
}

}  // namespace difftensor::inline DT_PRECISION::models
