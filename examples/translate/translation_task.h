#pragma once
// Translation, as the training loop sees it.
#include "examples/translate/batches.h"
#include "examples/translate/survey.h"
#include "examples/translate/toy_corpora.h"
#include "examples/translate/translator.h"

namespace translate {

/// A corpus to learn from, and the model that learns it. Updates are batches of sentence pairs; their pieces have about
/// 256 tokens on the longer side. Validation: the loss of all validation pairs, and figures of greedy translations of
/// the first 200.
class TranslationTask : public Task {
 public:
  /// Reads the pairs. The vocabulary is that of the run in `folder`, or learned from the training pairs if that is
  /// empty. Throws InputError on pairs that cannot be trained on.
  TranslationTask(const Settings& settings, const std::string& folder);

  difftensor::nn::Module& model() override { return *translator_.model; }
  Companion companion() const override { return translator_.vocabulary_file(); }
  std::string data_fingerprint() const override;
  std::string summary() const override;
  std::string title() const override;
  double guessing_loss() const override;
  void write_files(const std::string& folder) const override;

  int64_t updates_per_epoch() const override { return updates_per_epoch_; }
  Update begin_update(int64_t update) override;
  PieceLoss piece_loss(int64_t piece) override;

  std::vector<Figure> figures() const override;
  std::vector<std::string> lambda_names() const override;
  Validation validate() override;
  /// attention.svg: a head's cross-attention in one of the first validation sentences.
  void draw(const std::string& folder) override;

 private:
  void begin_epoch(int64_t epoch);
  void validate_loss(Validation& v) const;
  std::vector<std::string> translate_shared(const std::vector<std::string>& lines) const;

  const Settings s_;
  Splits pairs_;  // the texts to train on are let go once they are token ids
  Translator translator_;
  LostText lost_;
  Examples train_, valid_;  // the pairs as token ids
  int64_t updates_per_epoch_;

  int64_t epoch_ = 0;  // whose batches these are
  std::vector<Selection> batches_;
  std::vector<Batch> pieces_;  // of the update that is being made
  int64_t targets_ = 0;        // of all of them
};

}  // namespace translate
