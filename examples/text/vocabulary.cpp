#include "examples/text/vocabulary.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <stdexcept>

#include "examples/text/corpus.h"

namespace text {
namespace {

class Sentences : public sentencepiece::SentenceIterator {
 public:
  explicit Sentences(const std::vector<std::string>& sentences) : at_(sentences.begin()), end_(sentences.end()) {}
  bool done() const override { return at_ == end_; }
  void Next() override { ++at_; }
  const std::string& value() const override { return *at_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  std::vector<std::string>::const_iterator at_, end_;
};

}  // namespace

Vocabulary Vocabulary::train(const std::vector<std::string>& sentences, int size) {
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
       // In bytes; longer lines are not learned from. The default is 4,192. This is the most: in a word of more than
       // 2^15 characters positions overflow, and the trainer crashes.
       {"max_sentence_length", "32767"},
       {"minloglevel", "3"}},
      &iterator, &model);
  if (!status.ok())
    throw InputError("a vocabulary of " + std::to_string(size) +
                     " pieces is too small to hold every character of the text, or there is no text (" +
                     status.ToString() + ")");
  return Vocabulary(std::move(model), "the learned vocabulary");
}

Vocabulary Vocabulary::load(const std::string& path) { return Vocabulary(read_file(path), path); }

Vocabulary::Vocabulary(std::string model, const std::string& name)
    : model_(std::move(model)), processor_(std::make_unique<sentencepiece::SentencePieceProcessor>()) {
  if (!processor_->LoadFromSerializedProto(model_).ok()) throw InputError(name + ": not a SentencePiece model");
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
  if (const auto status = processor_->Encode(text, &ids); !status.ok()) throw std::runtime_error(status.ToString());
  return ids;
}

std::string Vocabulary::decode(const std::vector<int32_t>& ids) const {
  std::string text;
  if (const auto status = processor_->Decode(ids, &text); !status.ok()) throw std::invalid_argument(status.ToString());
  return text;
}

std::string Vocabulary::piece(int32_t id) const {
  if (id < 0 || id >= size()) throw std::invalid_argument("no piece has the id " + std::to_string(id));
  return processor_->IdToPiece(id);
}

}  // namespace text
