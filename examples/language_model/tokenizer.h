#pragma once
// Text as numbers: its bytes, or pieces of words.
#include <optional>
#include <span>
#include <string_view>

#include "examples/text/vocabulary.h"
#include "examples/training/run_folder.h"

namespace language_model {

/// Turns text into token ids and back. Tokens are the 256 bytes, or subwords learned from a text (SentencePiece), some
/// of which hold the end of a line and the beginning of the next. One more stands before every text and after it.
class Tokenizer {
 public:
  /// At most `size` subwords of these texts; bytes if `size` is 0.
  static Tokenizer learn(std::span<const std::string_view> texts, int size);
  /// That of a run: its spm.model; bytes if `size` is 0.
  static Tokenizer load(const std::string& folder, int size);
  /// Leaves in a run's folder what load() reads.
  void save(const std::string& folder) const;

  int32_t size() const;
  /// The token before the first and after the last of a text.
  int32_t end() const;
  /// The ids of each text, without end().
  std::vector<std::vector<int32_t>> encode(std::span<const std::string_view> texts) const;
  std::vector<int32_t> encode(const std::string& text) const;
  /// Of subwords, a character that was not among those learned from comes back as " ⁇ ".
  std::string decode(const std::vector<int32_t>& ids) const;
  /// How many of these ids stand for characters that the vocabulary lacks.
  int64_t unknown(const std::vector<int32_t>& ids) const;
  /// A token as people read it.
  std::string piece(int32_t id) const;
  /// "1024 subwords" or "bytes"
  std::string description() const;
  /// What the parameters belong to.
  training::Companion companion() const;

 private:
  std::optional<text::Vocabulary> vocabulary_;  // none: bytes
};

}  // namespace language_model
