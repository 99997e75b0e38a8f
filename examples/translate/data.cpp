#include "examples/translate/data.h"

#include <algorithm>

namespace translate {

Splits load_pairs(const Settings& s) {
  if (s.task == "numbers") return make_numbers(s.pairs, s.loop().seed);
  if (s.task == "reverse") return make_reverse(s.pairs, s.loop().seed);
  Splits splits;
  splits.train = s.train.is_default() ? read_parallel(s.train_src, s.train_tgt) : read_tsv(s.train);
  if (!s.valid.is_default()) {
    splits.valid = read_tsv(s.valid);
  } else if (!s.valid_src.is_default()) {
    splits.valid = read_parallel(s.valid_src, s.valid_tgt);
  } else {  // hold out pairs at even distances
    const size_t count = std::clamp<size_t>(splits.train.size() / 100, 1, 500), apart = splits.train.size() / count;
    if (splits.train.size() < 2) throw InputError("one pair is too few: nothing is left to validate on");
    std::vector<Pair> rest;
    for (size_t i = 0; i < splits.train.size(); ++i) {
      const bool held_out = i % apart == apart - 1 && splits.valid.size() < count;
      (held_out ? splits.valid : rest).push_back(std::move(splits.train[i]));
    }
    splits.train = std::move(rest);
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

std::vector<Example> encode(const std::vector<Pair>& pairs, const Vocabulary& vocabulary, int64_t max_length,
                            const PairFiles& files, LostText& lost) {
  const auto place = [](const std::string& file, size_t line) {
    return file + (line ? ":" + std::to_string(line) : "");
  };
  const auto check = [&](size_t tokens, const std::string& file, size_t line, const char* side) {
    if (static_cast<int64_t>(tokens) > max_length)
      throw InputError(place(file, line) + ": the " + side + " has " +
                       std::to_string(tokens) + " tokens, more than --max-length " + std::to_string(max_length));
  };
  std::vector<Example> examples;
  for (const Pair& pair : pairs) {
    Example e{vocabulary.encode(pair.source), vocabulary.encode(pair.target)};
    lost.check(vocabulary, pair.source, e.source, pair.target, e.target, place(files.source, pair.line));
    e.source.push_back(Vocabulary::eos);
    e.target.push_back(Vocabulary::eos);
    check(e.source.size(), files.source, pair.line, "source");
    check(e.target.size(), files.target, pair.line, "target");
    e.target.insert(e.target.begin(), Vocabulary::bos);
    examples.push_back(std::move(e));
  }
  return examples;
}

int64_t targets_out_of_reach(const std::vector<Example>& examples, const difftensor::models::DecodeOptions& options) {
  return std::count_if(examples.begin(), examples.end(), [&](const Example& e) {  // the target's BOS does not count
    return static_cast<int64_t>(e.target.size()) - 1 > options.max_length(static_cast<int64_t>(e.source.size()));
  });
}

std::vector<Batch> micro_batches(const Batch& batch, int64_t tokens) {
  const int64_t longer = static_cast<int64_t>(std::max(batch.source.size(), batch.target_in.size()));
  int64_t count = (longer + tokens - 1) / tokens;
  if (count > update_parts) count = (count + update_parts - 1) / update_parts * update_parts;
  std::vector<Batch> pieces;
  auto source = batch.source.begin();
  auto target_in = batch.target_in.begin(), target_out = batch.target_out.begin();
  int64_t before = 0;  // tokens of the sentences before this one
  for (size_t i = 0; i < batch.source_lengths.size(); ++i) {
    const int64_t s = batch.source_lengths[i], t = batch.target_lengths[i];
    // The piece in which the sentence's middle lies.
    const int64_t index = (2 * before + s + t) * count / (2 * batch.tokens);
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
    before += s + t;
  }
  return pieces;
}

}  // namespace translate
