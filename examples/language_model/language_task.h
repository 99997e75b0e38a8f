#pragma once
// Language modelling, as the training loop sees it.
#include "examples/language_model/corpus.h"
#include "examples/language_model/loss_by_position.h"
#include "examples/language_model/trained_model.h"
#include "examples/training/update_clock.h"

namespace language_model {

/// Texts to learn from, and the model that learns them. A pass over them has every token once, in contexts cut at
/// random places; an update is a share of the pass's contexts, its pieces of about 256 tokens. Validation, after each
/// pass or every --check-every updates: the loss over all held-out text, bits per byte, and some text that the model
/// writes.
class LanguageTask : public Task {
 public:
  /// Reads the texts. The vocabulary is that of the run in `folder`, or learned if that is empty. Throws InputError on
  /// texts that cannot be trained on.
  LanguageTask(const Settings& settings, const std::string& folder);

  difftensor::nn::Module& model() override { return *trained_.model; }
  Companion companion() const override { return trained_.tokenizer.companion(); }
  std::string data_fingerprint() const override { return fingerprint_of(train_, valid_); }
  std::string summary() const override;
  std::string title() const override { return trained_.title(); }
  double guessing_loss() const override;
  void write_files(const std::string& folder) const override { trained_.tokenizer.save(folder); }

  int64_t updates_per_epoch() const override { return s_.check_every ? s_.check_every : updates_per_epoch_; }
  Update begin_update(int64_t update) override;
  PieceLoss piece_loss(int64_t piece) override;
  /// Of the update at work.
  const std::vector<Batch>& pieces() const { return pieces_; }

  std::vector<Figure> figures() const override { return {{"accuracy", 0, 1, "%"}}; }
  std::vector<std::string> lambda_names() const override;
  Validation validate() override;
  /// loss_by_position.svg; of differential attention attention.svg: what a head sees in a held-out text; of a study's
  /// arm record.json, all that is told of this training: make_record().
  void draw(const std::string& folder) override;

 private:
  LanguageTask(const Settings& settings, Data data);
  nlohmann::json make_record(const std::string& folder, const LossByPosition& loss) const;

  const Settings s_;
  const size_t files_;
  const Corpus train_, valid_;
  const TrainedModel trained_;
  const int64_t updates_per_epoch_;

  int64_t epoch_ = 0;  // whose contexts these are
  std::vector<Context> contexts_;
  std::vector<Batch> pieces_;  // of the update that is being made
  int64_t targets_ = 0;        // of all of them
  training::UpdateClock clock_;
};

}  // namespace language_model
