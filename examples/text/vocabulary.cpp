#include "examples/text/vocabulary.h"

#include <malloc.h>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <stdexcept>

#include "examples/text/corpus.h"
#include "examples/text/escapes.h"
#include "examples/text/model_file.h"
#include "examples/text/unicode.h"

namespace text {
namespace {

// In bytes. The trainer leaves longer lines out, without a word, and in a word of more than 2^15 characters its
// positions overflow, and it crashes.
constexpr size_t longest_line = 32767;

constexpr std::string_view space_piece = "\u2581";  // as SentencePiece writes a space

// Adds lines "word, tab, count" for a word: escaped, with "<s>" for a tab, and in parts if it is long. The trainer
// keeps each of its special tokens apart from the text around it, the tab and <s> alike.
void add_lines(Packed<char>& lines, std::string_view word, int64_t count) {
  const std::string escaped = escape(word), number = std::to_string(count);
  std::string part;
  const auto end_part = [&] {
    part.append("\t").append(number);
    lines.add(part);
    part.clear();
  };
  for (size_t i = 0; i < escaped.size();) {
    size_t next = i + 1;
    while (next < escaped.size() && !begins_character(escaped[next])) ++next;
    const std::string_view c = escaped[i] == '\t' ? "<s>" : std::string_view(escaped).substr(i, next - i);
    if (part.size() + c.size() > longest_line) end_part();
    part += c;
    i = next;
  }
  if (!part.empty()) end_part();
}

// What there is to learn from: each distinct word with its count. The trainer, given sentences, counts their words and
// forgets the rest, but keeps every sentence until then.
class WordCounts : public sentencepiece::SentenceIterator {
 public:
  explicit WordCounts(const std::vector<const Sentences*>& texts) {
    int64_t spaces = 0;  // empty words: the trainer sees the space that is written before each word, and nothing else
    for (const Sentences* text : texts)
      for (uint32_t number = 0; number < text->words(); ++number)
        if (text->word(number).empty()) spaces += text->count(number);
    for (const Sentences* text : texts)
      for (uint32_t number = 0; number < text->words(); ++number) {
        const std::string word(text->word(number));
        int64_t count = text->count(number);
        if (word.empty() || count == 0) continue;
        if (spaces % 2 == 1) {  // one empty word can only be told together with another word
          add_lines(lines_, word + ' ', 1);
          --spaces, --count;
        }
        if (count > 0) add_lines(lines_, word, count);
      }
    if (spaces > 1) add_lines(lines_, " ", spaces / 2);  // a space has an empty word on either side
    WordCounts::Next();  // its own: no class derives from it
  }
  bool done() const override { return next_ > lines_.size(); }
  void Next() override {
    if (next_ < lines_.size()) line_.assign(lines_[next_].begin(), lines_[next_].end());
    ++next_;
  }
  const std::string& value() const override { return line_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  Packed<char> lines_;
  std::string line_;
  size_t next_ = 0;  // line after this
};

}  // namespace

Vocabulary Vocabulary::train(const std::vector<std::string>& sentences, int size) {
  Sentences text;
  for (const std::string& sentence : sentences) text.add(sentence);
  return learn({&text}, size);
}

Vocabulary Vocabulary::learn(const std::vector<const Sentences*>& texts, int size) {
  if (std::all_of(texts.begin(), texts.end(), [](const Sentences* text) { return text->size() == 0; }))
    throw InputError("there is no text to learn a vocabulary from");
  if (size < 5) throw InputError("a vocabulary of " + std::to_string(size) + " pieces: four are for special tokens");
  WordCounts iterator(texts);
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(
      {{"model_type", "bpe"},
       {"input_format", "tsv"},  // text, tab, count
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
  malloc_trim(0);  // what the trainer needed was in small pieces, which are kept to be used again, if nobody says so
  if (!status.ok())
    throw InputError("SentencePiece cannot learn a vocabulary of " + std::to_string(size) +
                     " pieces: " + status.ToString());
  return Vocabulary(without_input_format(model), "the learned vocabulary");
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
  words_apart_ = merges_words_as_they_are(model_) && space() != unknown;
  for (int32_t id = 0; id < size() && words_apart_; ++id) {
    const std::string& piece = p.IdToPiece(id);
    words_apart_ = piece.find(' ') == piece.npos && piece.find(space_piece, 1) == piece.npos;
  }
}

Vocabulary::Vocabulary(Vocabulary&&) noexcept = default;
Vocabulary& Vocabulary::operator=(Vocabulary&&) noexcept = default;
Vocabulary::~Vocabulary() = default;

int32_t Vocabulary::size() const { return processor_->GetPieceSize(); }

int32_t Vocabulary::space() const { return processor_->PieceToId(space_piece); }

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
