#include "examples/translate/data.h"

#include <algorithm>
#include <bit>

#include "core/kernels/parallel.h"
#include "examples/text/encoder.h"
#include "examples/translate/corpus_progress.h"
#include "examples/translate/distractors.h"

namespace translate {

using difftensor::parallel_for, difftensor::Random;

namespace {

constexpr int64_t sentences_at_once = 1024;  // that a thread encodes

Splits read_pairs(const Settings& s, const ReadingProgress& progress) {
  if (s.task == "numbers") return make_numbers(s.pairs, s.loop().seed);
  if (s.task == "reverse") return make_reverse(s.pairs, s.loop().seed);
  Splits splits;
  splits.train = s.train.is_default() ? read_parallel(s.train_src, s.train_tgt, progress) : read_tsv(s.train, progress);
  if (!s.valid.is_default()) {
    splits.valid = read_tsv(s.valid);
  } else if (!s.valid_src.is_default()) {
    splits.valid = read_parallel(s.valid_src, s.valid_tgt);
  } else {  // hold out pairs at even distances
    const size_t count = std::clamp<size_t>(splits.train.size() / 100, 1, 500), apart = splits.train.size() / count;
    if (splits.train.size() < 2) throw InputError("one pair is too few: nothing is left to validate on");
    const auto held_out = [=](size_t i) { return i % apart == apart - 1 && i / apart < count; };
    for (size_t i = 0; i < splits.train.size(); ++i)
      if (held_out(i)) splits.valid.add(splits.train[i]);
    splits.train.remove_if(held_out);
  }
  return splits;
}

}  // namespace

Splits load_pairs(const Settings& s, const ReadingProgress& progress) {
  Splits splits = read_pairs(s, progress);
  if (s.distractors > 0) {  // those to validate on are the same whatever the seed, so that runs compare
    splits.train = with_distractors(splits.train, s.distractors, Random(s.loop().seed, /*stream=*/2));
    splits.valid = with_distractors(splits.valid, s.distractors, Random(0, /*stream=*/2));
  }
  return splits;
}

PairFiles train_files(const Settings& s) {
  if (!s.task.is_default()) return {s.task, s.task};
  return s.train.is_default() ? PairFiles{s.train_src, s.train_tgt} : PairFiles{s.train, s.train};
}

PairFiles valid_files(const Settings& s) {
  if (!s.valid.is_default()) return {s.valid, s.valid};
  return s.valid_src.is_default() ? train_files(s) : PairFiles{s.valid_src, s.valid_tgt};
}

Examples encode(const Pairs& pairs, const Vocabulary& vocabulary, int64_t max_length, const PairFiles& files,
                LostText& lost) {
  const Encoder source(vocabulary, pairs.sources()), target(vocabulary, pairs.targets());
  const auto count = static_cast<int64_t>(pairs.size());
  // First the lengths, so that the ids are put where they stay.
  std::vector<Encoder::Outcome> outcomes(2 * pairs.size());
  SentenceProgress progress(2 * count);
  parallel_for(count, sentences_at_once, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) outcomes[2 * i] = source.outcome(i), outcomes[2 * i + 1] = target.outcome(i);
    progress.add(end - begin);
  });
  const auto place = [&](const std::string& file, size_t i) {
    return pairs.line(i) ? file + ":" + std::to_string(pairs.line(i)) : file;
  };
  const auto check = [&](int32_t tokens, const std::string& file, size_t i, const char* side) {
    if (tokens > max_length)
      throw InputError(place(file, i) + ": the " + side + " has " + std::to_string(tokens) +
                       " tokens, more than --max-length " + std::to_string(max_length));
  };
  std::vector<int32_t> lengths(outcomes.size());
  for (size_t i = 0; i < pairs.size(); ++i) {
    const auto &s = outcomes[2 * i], &t = outcomes[2 * i + 1];
    lost.check(s.loss, t.loss, [&] { return place(files.source, i); });
    check(s.length + 1, files.source, i, "source");
    check(t.length + 1, files.target, i, "target");
    lengths[2 * i] = s.length + 1;      // EOS
    lengths[2 * i + 1] = t.length + 2;  // and BOS
  }
  Packed<int32_t> sides(lengths);
  parallel_for(count, sentences_at_once, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto s = sides[2 * i], t = sides[2 * i + 1];
      std::ranges::copy(source.ids(i), s.begin());
      std::ranges::copy(target.ids(i), t.begin() + 1);
      t.front() = Vocabulary::bos;
      s.back() = t.back() = Vocabulary::eos;
    }
    progress.add(end - begin);
  });
  return Examples(std::move(sides));
}

int64_t targets_out_of_reach(const Examples& examples, const difftensor::models::DecodeOptions& options) {
  int64_t count = 0;
  for (size_t i = 0; i < examples.size(); ++i) {  // the target's BOS does not count
    const auto& [source, target] = examples[i];
    count += static_cast<int64_t>(target.size()) - 1 > options.max_length(static_cast<int64_t>(source.size()));
  }
  return count;
}

std::vector<Batch> micro_batches(const Batch& batch, int64_t tokens) {
  const int64_t longer = static_cast<int64_t>(std::max(batch.source.size(), batch.target_in.size()));
  int64_t count = (longer + tokens - 1) / tokens;
  count = count <= update_parts ? static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(count)))
                                : (count + update_parts - 1) / update_parts * update_parts;
  std::vector<Batch> pieces;
  auto source = batch.source.begin();
  auto target_in = batch.target_in.begin(), target_out = batch.target_out.begin();
  // A target's token is about as much work as two of the source's: it goes through cross-attention and the output layer
  // too.
  const auto work = [](int64_t source_tokens, int64_t target_tokens) { return source_tokens + 2 * target_tokens; };
  const int64_t all = work(static_cast<int64_t>(batch.source.size()), static_cast<int64_t>(batch.target_in.size()));
  int64_t before = 0;  // the sentences before this one
  for (size_t i = 0; i < batch.source_lengths.size(); ++i) {
    const int64_t s = batch.source_lengths[i], t = batch.target_lengths[i];
    // The piece in which the sentence's middle lies.
    const int64_t index = (2 * before + work(s, t)) * count / (2 * all);
    if (pieces.empty() || index >= static_cast<int64_t>(pieces.size())) pieces.emplace_back();
    Batch& piece = pieces.back();
    piece.source.insert(piece.source.end(), source, source + s);
    piece.target_in.insert(piece.target_in.end(), target_in, target_in + t);
    piece.target_out.insert(piece.target_out.end(), target_out, target_out + t);
    piece.source_lengths.push_back(s);
    piece.target_lengths.push_back(t);
    piece.tokens += s + t;
    piece.examples.push_back(batch.examples[i]);
    source += s, target_in += t, target_out += t;
    before += work(s, t);
  }
  return pieces;
}

}  // namespace translate
