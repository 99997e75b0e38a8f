#pragma once
// Subword vocabulary: text to token ids and back (byte-pair encoding, Sennrich et al. 2016, by SentencePiece).
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "examples/text/sentences.h"

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace text {

/// One vocabulary for source and target. Text comes back as it went in: nothing is normalised, spaces and tabs are
/// kept, and so is what SentencePiece keeps for itself (escapes.h). Lost are only characters not seen in training,
/// which become `unknown`.
class Vocabulary {
 public:
  static constexpr int32_t pad = 0, bos = 1, eos = 2, unknown = 3;

  /// Learns at most `size` pieces from the sentences; fewer if there are no more to learn. The same sentences give
  /// the same vocabulary. Throws InputError with SentencePiece's reason, as when `size` does not even hold every
  /// character, or there is nothing to learn from.
  static Vocabulary learn(const std::vector<const Sentences*>& texts, int size);
  static Vocabulary train(const std::vector<std::string>& sentences, int size);
  /// Reads a SentencePiece model file. Throws InputError if it is none, or its special tokens have other ids than
  /// ours.
  static Vocabulary load(const std::string& path);

  /// From the bytes of a model file; `name` stands for them in messages.
  Vocabulary(std::string model, const std::string& name);
  Vocabulary(Vocabulary&&) noexcept;
  Vocabulary& operator=(Vocabulary&&) noexcept;
  ~Vocabulary();

  /// The bytes of a model file, which SentencePiece's own tools read too.
  const std::string& model() const { return model_; }
  int32_t size() const;
  /// Neither BOS nor EOS is added.
  std::vector<int32_t> encode(const std::string& text) const;
  /// Whether a text's ids are those of its words (as Sentences has them), one after the other, and so is what comes
  /// back of them. True of what train() learns: no piece of it goes on past a space. An empty word that is not the
  /// whole text is the piece "▁".
  bool encodes_words_apart() const { return words_apart_; }
  int32_t space() const;  ///< the id of the piece "▁"
  /// What is lost of a text whose ids these are.
  enum class Loss { none, unknown_characters, other_text };
  Loss loss(const std::string& text, const std::vector<int32_t>& ids) const;
  /// Special tokens are dropped, unknown ones become " ⁇ ". Throws std::invalid_argument on an id outside the
  /// vocabulary.
  std::string decode(const std::vector<int32_t>& ids) const;
  /// A token as it is written in the vocabulary, where "▁" is a space.
  std::string piece(int32_t id) const;

 private:
  std::string model_;
  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
  bool words_apart_ = false;
};

}  // namespace text
