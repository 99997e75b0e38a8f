#include "models/decode.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <functional>
#include <limits>
#include <numeric>

#include "core/kernels/packed_weights.h"
#include "core/kernels/parallel.h"
#include "core/kernels/softmax.h"
#include "models/key_value_cache.h"

namespace difftensor::inline DT_PRECISION::models {
namespace {

// --- The model, a token at a time ---------------------------------------------------------------------------------

// A word that may come next, and how likely it is.
struct Word {
  int32_t token;
  double log_p;
};

// A number that at least `count` of x (V) reach, if there are so many: the least of the `count` largest maxima of
// blocks. `tops` gets the maximum of each block.
Scalar bound_of_largest(const Scalar* x, int64_t V, int count, int64_t block, std::vector<Scalar>& tops) {
  std::vector<Scalar> largest;  // of the maxima so far, in order
  for (int64_t begin = 0; begin < V; begin += block) {
    const Scalar top = kernels::row_max(x + begin, std::min(block, V - begin));
    tops.push_back(top);
    const bool full = static_cast<int>(largest.size()) == count;
    if (full && !(top > largest.back())) continue;
    if (full) largest.pop_back();
    largest.insert(std::upper_bound(largest.begin(), largest.end(), top, std::greater<>()), top);
  }
  return static_cast<int>(largest.size()) == count ? largest.back() : -std::numeric_limits<Scalar>::infinity();
}

// The `count` largest of the logits x (V), largest first, with log softmax(x); of equals, the one with the lower id.
// NaN is none of them. Only the few blocks whose maximum reaches the bound are looked at word by word.
std::vector<Word> likeliest(const Scalar* x, int64_t V, int count) {
  const int64_t block = std::clamp<int64_t>(V / (2 * count), 1, 64);  // more blocks than words wanted
  std::vector<Scalar> tops;
  const Scalar bound = bound_of_largest(x, V, count, block, tops);
  std::vector<Word> best;  // log_p has the logit; at the end, the logarithm of softmax's denominator comes off
  for (int64_t begin = 0; begin < V; begin += block) {
    if (tops[begin / block] < bound) continue;
    for (int64_t v = begin; v < std::min(V, begin + block); ++v)
      if (x[v] >= bound) best.push_back({static_cast<int32_t>(v), static_cast<double>(x[v])});
  }
  if (best.empty()) return best;
  std::stable_sort(best.begin(), best.end(), [](const Word& a, const Word& b) { return a.log_p > b.log_p; });
  if (static_cast<int>(best.size()) > count) best.resize(count);

  // log sum_v exp(x_v) = x_top + log(1 + rest), the rest being of the others exp(x_v - x_top). If it is tiny, the model
  // is sure of its word; beside the 1 it would round away, by itself it is right to a few units in its last place.
  const int64_t top = best[0].token;
  const auto sum = [x, top](int64_t begin, int64_t end) {
    const auto term = [x = x + begin, x_top = x[top]](int64_t v) { return kernels::exp_nonpositive(x[v] - x_top); };
    return kernels::sum_of(end - begin, term);
  };
  const double log_sum = std::log1p(sum(0, top) + sum(top + 1, V));
  for (Word& word : best) word.log_p = (word.log_p - static_cast<double>(x[top])) - log_sum;
  return best;
}

// Some sentences on their way through the decoder: one row for each open hypothesis, in beam search several for each
// sentence. The sources are encoded once; each layer's keys and values of the tokens written so far are kept in a
// cache.
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
      caches_.emplace_back(static_cast<int64_t>(sources.size()), capacity);
  }
  // Adds a token to each row. Then: the `count` likeliest next words of every row, likeliest first.
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
  // Goes on with copies of the rows `rows`. Those of one sentence have the same memory, by their Spans: it is never
  // copied.
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
  std::vector<nn::KeyValues> memory_;  // the encoder's output as keys and values, for each decoder layer
  std::vector<KeyValueCache> caches_;  // one for each decoder layer
  int32_t position_ = 0;
};

// --- The search ---------------------------------------------------------------------------------------------------
// Greedy search has one open hypothesis for each sentence. At each step the model scores all V next words, and the
// likeliest is added. Beam search has up to `beam`, and at each step of a sentence:
//
//   1. Each open hypothesis continued by each likely next word is a candidate. They are ranked, best first, by log P of
//      all that is written: the hypothesis's and the word's.
//   2. From the top of the ranking, candidates are taken until `beam` are open: the next step's hypotheses.
//      A candidate on the way there that ends with EOS is a finished translation, if it is among the first `beam` of
//      the ranking: if it has earned a place in the beam. One further down has not, and came up only because those
//      above it left places free by ending.
//   3. The `n_best` best finished translations are kept. Their score is log P / length^alpha, as log P alone would
//      favour the short. An open hypothesis that cannot beat the worst of them is dropped: log P only falls, so at best
//      it scores what it has now at the greatest length. When none is left, the sentence is done.
//
// Dropping changes no result: all that it lets move up is less likely than what was dropped, so it is hopeless too.
//
// How many next words of each hypothesis suffice? An end is at most one candidate of each hypothesis, so at most `beam`
// candidates end. Then `beam` open ones are among the best 2 beam of all, and these among the best 2 beam words of
// each. Greedy search needs one: if that is EOS, it is done.

struct Open {  // an open hypothesis
  int sentence;
  std::vector<int32_t> tokens;  // without BOS
  double log_p = 0;
};

struct Candidate {
  int32_t row;  // the open hypothesis that it continues
  int32_t token;
  double log_p;  // of all its tokens
};

// Step 1 for the hypotheses first ... end - 1, which are those of one sentence.
std::vector<Candidate> ranked_candidates(const std::vector<Open>& open, size_t first, size_t end,
                                         const std::vector<std::vector<Word>>& next_words) {
  std::vector<Candidate> candidates;
  for (size_t row = first; row < end; ++row)
    for (const Word& word : next_words[row])
      candidates.push_back({static_cast<int32_t>(row), word.token, open[row].log_p + word.log_p});
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.log_p > b.log_p; });
  return candidates;
}

void keep_best(std::vector<Hypothesis>& finished, int count) {
  std::stable_sort(finished.begin(), finished.end(),
                   [](const Hypothesis& a, const Hypothesis& b) { return a.score > b.score; });
  if (static_cast<int>(finished.size()) > count) finished.resize(count);
}

std::vector<std::vector<Hypothesis>> decode_batch(const Transformer& model,
                                                  const std::vector<std::vector<int32_t>>& sources,
                                                  const DecodeOptions& o) {
  std::vector<int64_t> limit;  // of each sentence's tokens, EOS counted
  for (auto& source : sources) limit.push_back(o.max_length(static_cast<int64_t>(source.size())));
  const int64_t longest = *std::max_element(limit.begin(), limit.end());
  auto score = [&](double log_p, int64_t length) {
    return log_p / std::pow(static_cast<double>(length), o.length_penalty);
  };

  Decoding decoding(model, sources, longest);
  std::vector<std::vector<Hypothesis>> done(sources.size());
  std::vector<Open> open;  // hypothesis i is row i of `decoding`; those of one sentence lie together
  for (size_t i = 0; i < sources.size(); ++i) open.push_back({static_cast<int>(i), {}, 0});

  while (!open.empty()) {
    std::vector<int32_t> last;
    for (auto& hypothesis : open) last.push_back(hypothesis.tokens.empty() ? o.bos : hypothesis.tokens.back());
    const auto next_words = decoding.next(last, o.beam == 1 ? 1 : 2 * o.beam);

    std::vector<Open> still_open;  // of all sentences, after this step
    std::vector<int32_t> parents;  // the row that each of them continues
    for (size_t first = 0, end; first < open.size(); first = end) {
      const int sentence = open[first].sentence;
      for (end = first; end < open.size() && open[end].sentence == sentence;) ++end;
      const int64_t length = static_cast<int64_t>(open[first].tokens.size()) + 1;  // of every candidate

      const std::vector<Candidate> candidates = ranked_candidates(open, first, end, next_words);
      std::vector<Hypothesis>& finished = done[sentence];
      std::vector<Open> next;  // of this sentence
      std::vector<int32_t> next_parents;
      for (size_t rank = 0; rank < candidates.size() && static_cast<int>(next.size()) < o.beam; ++rank) {
        const Candidate& c = candidates[rank];
        std::vector<int32_t> tokens = open[c.row].tokens;
        if (c.token == o.eos) {
          const bool in_beam = static_cast<int>(rank) < o.beam;
          if (in_beam) finished.push_back({tokens, score(c.log_p, length)});
          continue;
        }
        tokens.push_back(c.token);
        next.push_back({sentence, tokens, c.log_p});
        next_parents.push_back(c.row);
      }

      const bool last_step = length >= limit[sentence];
      if (last_step && finished.empty())  // none ever ended: what there is, is the translation
        for (auto& hypothesis : next) finished.push_back({hypothesis.tokens, score(hypothesis.log_p, length)});
      keep_best(finished, o.n_best);
      if (last_step) continue;
      const auto hopeless = [&](const Open& hypothesis) {
        return score(hypothesis.log_p, limit[sentence]) <= finished.back().score;
      };
      if (static_cast<int>(finished.size()) == o.n_best)
        while (!next.empty() && hopeless(next.back())) next.pop_back();  // the least likely is the last
      next_parents.resize(next.size());
      still_open.insert(still_open.end(), next.begin(), next.end());
      parents.insert(parents.end(), next_parents.begin(), next_parents.end());
    }
    std::vector<int32_t> unchanged(open.size());
    std::iota(unchanged.begin(), unchanged.end(), 0);
    if (!still_open.empty() && parents != unchanged) decoding.select(parents);
    open = std::move(still_open);
  }
  return done;
}

}  // namespace

std::vector<std::vector<Hypothesis>> decode(const Transformer& model, const std::vector<std::vector<int32_t>>& sources,
                                            const DecodeOptions& options,
                                            const std::function<void(int64_t)>& finished) {
  require(options.beam >= 1 && options.batch_size >= 1, "decode", "beam ", options.beam, " and batch size ",
          options.batch_size, " must be at least 1");
  require(options.beam <= 1000000, "decode", "beam ", options.beam, " is more than 1000000");
  require(options.n_best >= 1 && options.n_best <= options.beam, "decode", "the ", options.n_best,
          " best translations of beam ", options.beam);
  require(options.length_penalty >= 0 && options.length_penalty <= 30, "decode", "length penalty ",
          options.length_penalty, " must be from 0 to 30");
  require(options.max_length_factor >= 0 && options.max_length_factor <= 1e6 && options.max_length_extra >= -1000000 &&
              options.max_length_extra <= 1000000 &&
              static_cast<int64_t>(options.max_length_factor) + options.max_length_extra >= 1,
          "decode", "translations of at most ", options.max_length_factor, " times the source and ",
          options.max_length_extra, " tokens");
  require(!model.training(), "decode", "the model is in training mode: call eval() first");
  std::vector<size_t> order(sources.size());
  std::iota(order.begin(), order.end(), size_t{0});
  // Sentences of one length together, and the long ones first: the last batches, when threads run out of work, are
  // short.
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return sources[a].size() > sources[b].size(); });

  kernels::PackedWeights weights;
  // A batch at a time on each thread; a single one is spread over the threads inside its ops.
  std::vector<std::vector<Hypothesis>> results(sources.size());
  const auto count = static_cast<int64_t>(order.size());
  const int64_t size = std::clamp<int64_t>(count, 1, options.batch_size), batches = (count + size - 1) / size;
  int64_t done = 0;
  std::exception_ptr error;
  const auto decode_one = [&](int64_t b) {
    try {
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
  };
  if (batches == 1) {  // not as a team of one, in which every op would call for a team of its own
    decode_one(0);
  } else {
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t b = 0; b < batches; ++b) decode_one(b);
  }
  if (error) std::rethrow_exception(error);
  return results;
}

}  // namespace difftensor::inline DT_PRECISION::models
