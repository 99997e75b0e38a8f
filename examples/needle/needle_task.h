#pragma once
// What the training loop is asked to train: an arm, on a retrieval task.
#include "examples/needle/retrieval.h"
#include "examples/needle/settings.h"
#include "examples/training/update_clock.h"
#include "models/language_model.h"

namespace needle {

/// What is not trained on is drawn from this: stream 0 for the fingerprint, 1 for validations, 2 for the tests at the
/// end, 3 for the look inside. All arms and seeds have the same; no training has these streams, whatever its seed.
difftensor::Random test_random(uint64_t stream);
constexpr uint64_t test_seed = 0x6E6565646C65;

/// An arm that learns to retrieve.
class NeedleTask : public Task {
 public:
  explicit NeedleTask(const Settings& settings);

  difftensor::nn::Module& model() override { return *model_; }
  Companion companion() const override { return {"task", "config.json", data_fingerprint()}; }
  std::string data_fingerprint() const override;
  std::string summary() const override;
  std::string title() const override;
  double guessing_loss() const override;

  int64_t updates_per_epoch() const override { return s_.check_every; }
  Update begin_update(int64_t update) override;
  PieceLoss piece_loss(int64_t piece) override;

  std::vector<Figure> figures() const override { return {{"accuracy", 0, 2, "%"}}; }
  std::vector<std::string> lambda_names() const override;
  Validation validate() override;
  /// The sequences of the update at work.
  const Questions& update() const { return update_; }
  /// Leaves record.json, all that is told of this training: make_record().
  void draw(const std::string& folder) override;

 private:
  nlohmann::json make_record(const std::string& folder) const;
  const Settings& s_;
  const RetrievalTask& task_;
  std::unique_ptr<difftensor::models::LanguageModel> model_;
  Questions update_;
  int64_t pieces_ = 0;
  training::UpdateClock clock_;
};

}  // namespace needle
