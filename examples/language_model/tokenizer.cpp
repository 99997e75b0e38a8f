#include "examples/language_model/tokenizer.h"

#include <algorithm>

#include "examples/text/encoder.h"
#include "examples/text/files.h"
#include "examples/training/progress.h"

namespace language_model {

using text::Sentences, text::Vocabulary;

namespace {

constexpr int32_t bytes = 256;

Sentences sentences_of(std::span<const std::string_view> texts) {
  Sentences sentences;
  for (const std::string_view text : texts) sentences.add(text);
  return sentences;
}

}  // namespace

Tokenizer Tokenizer::learn(std::span<const std::string_view> texts, int size) {
  Tokenizer tokenizer;
  if (size == 0) return tokenizer;
  training::Progress progress(size);
  progress.update(0, "learning the vocabulary");
  const Sentences sentences = sentences_of(texts);
  tokenizer.vocabulary_ = Vocabulary::learn({&sentences}, size);
  return tokenizer;
}

Tokenizer Tokenizer::load(const std::string& folder, int size) {
  Tokenizer tokenizer;
  if (size != 0) tokenizer.vocabulary_ = Vocabulary::load(folder + "/spm.model");
  return tokenizer;
}

void Tokenizer::save(const std::string& folder) const {
  if (vocabulary_) text::write_file(folder + "/spm.model", vocabulary_->model());
}

int32_t Tokenizer::size() const { return vocabulary_ ? vocabulary_->size() : bytes + 1; }

int32_t Tokenizer::end() const { return vocabulary_ ? Vocabulary::eos : bytes; }

std::vector<std::vector<int32_t>> Tokenizer::encode(std::span<const std::string_view> texts) const {
  std::vector<std::vector<int32_t>> ids;
  if (!vocabulary_) {
    for (const std::string_view text : texts) ids.push_back(encode(std::string(text)));
    return ids;
  }
  const Sentences sentences = sentences_of(texts);
  const text::Encoder encoder(*vocabulary_, sentences);
  for (size_t i = 0; i < texts.size(); ++i) ids.push_back(encoder.ids(i));
  return ids;
}

std::vector<int32_t> Tokenizer::encode(const std::string& text) const {
  if (vocabulary_) return vocabulary_->encode(text);
  std::vector<int32_t> ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

std::string Tokenizer::decode(const std::vector<int32_t>& ids) const {
  if (vocabulary_) return vocabulary_->decode(ids);
  std::string text;
  for (const int32_t id : ids)
    if (id != end()) text += static_cast<char>(id);
  return text;
}

int64_t Tokenizer::unknown(const std::vector<int32_t>& ids) const {
  return vocabulary_ ? std::count(ids.begin(), ids.end(), Vocabulary::unknown) : 0;
}

std::string Tokenizer::piece(int32_t id) const {
  if (id == end()) return "(end)";
  std::string piece = vocabulary_ ? vocabulary_->piece(id) : std::string(1, static_cast<char>(id));
  for (size_t at; (at = piece.find('\n')) != std::string::npos;) piece.replace(at, 1, "↵");
  return piece;
}

std::string Tokenizer::description() const {
  return vocabulary_ ? std::to_string(vocabulary_->size()) + " subwords" : "bytes";
}

training::Companion Tokenizer::companion() const {
  if (!vocabulary_) return {"vocabulary", "bytes", "bytes"};
  return {"vocabulary", "spm.model", training::fingerprint(vocabulary_->model())};
}

}  // namespace language_model
