#include "examples/text/vocabulary.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <stdexcept>

#include "examples/text/corpus.h"
#include "examples/text/escapes.h"
#include "examples/text/unicode.h"

namespace text {
namespace {

// In bytes. The trainer leaves longer lines out, without a word, and in a word of more than 2^15 characters its
// positions overflow, and it crashes.
constexpr size_t longest_line = 32767;

// The sentences as the trainer takes them: escaped, and long ones in parts. It learns from words, so that a cut between
// two of them changes nothing.
class Sentences : public sentencepiece::SentenceIterator {
 public:
  explicit Sentences(const std::vector<std::string>& sentences) : at_(sentences.begin()), end_(sentences.end()) {
    if (at_ != end_) rest_ = escape(*at_);
    take_part();
  }
  bool done() const override { return at_ == end_; }
  void Next() override {
    if (rest_.empty() && ++at_ != end_) rest_ = escape(*at_);
    take_part();
  }
  const std::string& value() const override { return part_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  void take_part() {
    size_t end = rest_.size(), next = end;
    if (end > longest_line) {
      end = rest_.rfind(' ', longest_line), next = end + 1;
      if (end == rest_.npos || end == 0)
        for (end = next = longest_line; !begins_character(rest_[end]);) next = --end;
    }
    part_.assign(rest_, 0, end);
    rest_.erase(0, next);
  }

  std::vector<std::string>::const_iterator at_, end_;
  std::string part_, rest_;  // of the sentence at_
};

}  // namespace

Vocabulary Vocabulary::train(const std::vector<std::string>& sentences, int size) {
  if (sentences.empty()) throw InputError("there is no text to learn a vocabulary from");
  Sentences iterator(sentences);
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(
      {{"model_type", "bpe"},
       {"vocab_size", std::to_string(size)},
       {"hard_vocab_limit", "false"},  // take fewer pieces where the text has no more
       {"character_coverage", "1"},
       {"normalization_rule_name", "identity"},
       {"remove_extra_whitespaces", "false"},
       {"user_defined_symbols", "\t"},  // the trainer uses the tab for itself, and would make it unknown
       {"pad_id", std::to_string(pad)},
       {"bos_id", std::to_string(bos)},
       {"eos_id", std::to_string(eos)},
       {"unk_id", std::to_string(unknown)},
       {"max_sentence_length", std::to_string(longest_line)},
       {"minloglevel", "3"}},
      &iterator, &model);
  if (!status.ok())
    throw InputError("SentencePiece cannot learn a vocabulary of " + std::to_string(size) +
                     " pieces: " + status.ToString());
  return Vocabulary(std::move(model), "the learned vocabulary");
}

Vocabulary Vocabulary::load(const std::string& path) { return Vocabulary(read_file(path), path); }

Vocabulary::Vocabulary(std::string model, const std::string& name)
    : model_(std::move(model)), processor_(std::make_unique<sentencepiece::SentencePieceProcessor>()) {
  try {
    if (const auto status = processor_->LoadFromSerializedProto(model_); !status.ok())
      throw InputError(name + ": not a SentencePiece model: " + status.ToString());
  } catch (const InputError&) {
    throw;
  } catch (const std::exception& e) {  // its table of pieces throws where the pieces are not as they should be
    throw InputError(name + ": not a SentencePiece model: " + e.what());
  }
  const auto& p = *processor_;
  if (p.pad_id() != pad || p.bos_id() != bos || p.eos_id() != eos || p.unk_id() != unknown)
    throw InputError(name + ": the ids of pad, BOS, EOS and unknown must be 0, 1, 2 and 3");
}

Vocabulary::Vocabulary(Vocabulary&&) noexcept = default;
Vocabulary& Vocabulary::operator=(Vocabulary&&) noexcept = default;
Vocabulary::~Vocabulary() = default;

int32_t Vocabulary::size() const { return processor_->GetPieceSize(); }

std::vector<int32_t> Vocabulary::encode(const std::string& text) const {
  std::vector<int32_t> ids;
  if (const auto status = processor_->Encode(escape(text), &ids); !status.ok())
    throw std::runtime_error(status.ToString());
  return ids;
}

std::string Vocabulary::decode(const std::vector<int32_t>& ids) const {
  std::string text;
  if (const auto status = processor_->Decode(ids, &text); !status.ok()) throw std::invalid_argument(status.ToString());
  return unescape(text);
}

Vocabulary::Loss Vocabulary::loss(const std::string& text, const std::vector<int32_t>& ids) const {
  if (std::find(ids.begin(), ids.end(), unknown) != ids.end()) return Loss::unknown_characters;
  return decode(ids) == text ? Loss::none : Loss::other_text;
}

std::string Vocabulary::piece(int32_t id) const {
  if (id < 0 || id >= size()) throw std::invalid_argument("no piece has the id " + std::to_string(id));
  return processor_->IdToPiece(id);
}

}  // namespace text
