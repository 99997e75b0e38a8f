#pragma once
#include "examples/text/vocabulary.h"
#include "examples/translate/batches.h"
#include "examples/translate/settings.h"
#include "examples/translate/survey.h"
#include "examples/translate/toy_corpora.h"
#include "models/decode.h"

namespace translate {

/// The pairs that the settings name: drawn for a task, read from files. Files have no test set. With distractors,
/// sources to train and validate on have marks and others beside them; those to test on are as they are without.
Splits load_pairs(const Settings& settings, const ReadingProgress& progress = {});

/// The files that pairs were read from, for messages. A TSV has both sides.
struct PairFiles {
  std::string source, target;
};
PairFiles train_files(const Settings& settings);
/// Those of training, if its pairs are held out to validate on.
PairFiles valid_files(const Settings& settings);

/// Token ids, with BOS and EOS. Counts what is `lost`. Throws InputError naming file, line and side of a sentence of
/// more than max_length tokens.
Examples encode(const Pairs& pairs, const Vocabulary& vocabulary, int64_t max_length, const PairFiles& files,
                LostText& lost);

/// How many targets are longer than any translation of their source can be (DecodeOptions::max_length).
int64_t targets_out_of_reach(const Examples& examples, const difftensor::models::DecodeOptions& options);

/// A batch cut into pieces of at most about `tokens` on the longer side, whose gradients add up to the batch's. All are
/// about as much work, and their number is a power of two, or a multiple of update_parts, so that threads have equal
/// shares: unless a sentence is longer than a piece.
std::vector<Batch> micro_batches(const Batch& batch, int64_t tokens);

}  // namespace translate
