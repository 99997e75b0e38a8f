#pragma once
#include "examples/translate/batches.h"
#include "examples/translate/settings.h"
#include "examples/translate/tasks.h"
#include "examples/translate/vocabulary.h"

namespace translate {

/// The pairs that the settings name: drawn for a task, read from files. Files have no test set.
Splits load_pairs(const Settings& settings);

/// The files that pairs were read from, for messages. A TSV has both sides.
struct PairFiles {
  std::string source, target;
};
PairFiles train_files(const Settings& settings);
/// Those of training, if its pairs are held out to validate on.
PairFiles valid_files(const Settings& settings);

/// Token ids, with BOS and EOS. Throws InputError naming file, line and side of a sentence of more than max_length
/// tokens.
std::vector<Example> encode(const std::vector<Pair>& pairs, const Vocabulary& vocabulary, int64_t max_length,
                            const PairFiles& files);

/// A batch cut into pieces of at most `tokens` on the longer side (but at least a sentence): their activations stay in
/// the caches, and their gradients add up to the batch's.
std::vector<Batch> micro_batches(const Batch& batch, int64_t tokens);

}  // namespace translate
