#pragma once
// The text to learn from: files, the part of each that is held out, token ids, and the contexts that they are cut into.
#include "core/random.h"
#include "examples/language_model/settings.h"
#include "examples/language_model/tokenizer.h"

namespace language_model {

struct TextFile {
  std::string path, content;
};

/// The files of these paths: those named, and of a folder all in it and in its folders, sorted by name. Left out are
/// hidden files, files whose names end in none of `suffixes` (if there are any), and, with a warning, files that are not
/// UTF-8 text. Links to folders are not followed. Throws InputError if a path is not there, a file that is named is
/// not UTF-8, or there is no text at all.
std::vector<TextFile> read_texts(const std::vector<std::string>& paths, const std::vector<std::string>& suffixes);

/// Where the held-out part of a text begins: with the first line, or else character, that begins in the last `fraction`
/// of its bytes; at its end if none does.
size_t held_out_begin(std::string_view text, double fraction);

/// Texts as token ids, of which some are given and the others to be predicted.
struct Corpus {
  std::vector<std::vector<int32_t>> texts;
  std::vector<int64_t> given;  ///< how many ids of each text, at its beginning, are there to predict from; at least 1
  int64_t bytes = 0;           ///< of the text that is to be predicted
  int64_t unknown = 0;         ///< tokens of it that stand for characters which the vocabulary lacks

  void add(std::vector<int32_t> ids, int64_t given_ids, int64_t text_bytes, int64_t unknown_tokens);
  /// The ids of a text that are to be predicted, and how many there are in all texts.
  std::span<const int32_t> targets(size_t text) const;
  int64_t targets() const;
};

/// Whole files, each between two end() tokens.
Corpus whole_files(const std::vector<TextFile>& files, const Tokenizer& tokenizer);

/// What a training reads.
struct Data {
  Tokenizer tokenizer;
  Corpus train, valid;
  size_t files;  ///< to train on
};

/// Reads the texts. The vocabulary is that of the run in `folder`, or learned from what is trained on if that is empty.
/// If no files are named to validate on, each file is cut in two. The first part follows on an end() token; before the
/// second, the last settings.context tokens of the first are given. Throws InputError if there is too little text.
Data load_data(const Settings& settings, const std::string& folder);

/// A checksum: it changes with any token that is to be predicted.
std::string fingerprint_of(const Corpus& train, const Corpus& valid);

/// A piece of a text: from each of the ids begin, ..., begin + length - 1 and those before it, the next is predicted.
struct Context {
  size_t text;
  int64_t begin, length;
};

/// Every target once, in contexts of at most `length` tokens. Where the first cut of a text lies is drawn at random: so
/// each place in a context gets targets from all over the texts. A context that begins before the first target has some
/// that are given: none of these is counted.
std::vector<Context> cut(const Corpus& corpus, int64_t length, difftensor::Random& random);

/// Contexts laid end to end, as models::LanguageModel takes them.
struct Batch {
  std::vector<int32_t> ids, targets;  ///< no_target for one that is given
  std::vector<int64_t> lengths;
  int64_t predicted = 0;  ///< targets that count
};
inline constexpr int32_t no_target = -100;  // CrossEntropyOptions::ignore_index
Batch make_batch(const Corpus& corpus, std::span<const Context> contexts);

/// Contexts that follow each other, in runs of at least `tokens` tokens (the last of fewer): what is computed at once.
std::vector<std::span<const Context>> runs_of(std::span<const Context> contexts, int64_t tokens);

}  // namespace language_model
