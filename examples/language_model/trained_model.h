#pragma once
// A trained model, and all that using it needs.
#include "examples/language_model/settings.h"
#include "examples/language_model/tokenizer.h"

namespace language_model {

struct TrainedModel {
  Settings settings;
  Tokenizer tokenizer;
  std::unique_ptr<difftensor::models::LanguageModel> model;

  /// Reads a run folder, with its best, last or average parameters, in evaluation mode. Throws, naming the file that is
  /// missing, damaged or does not fit the others.
  static TrainedModel load(const std::string& folder, const std::string& which);
  /// A new model with this vocabulary.
  static TrainedModel begin(const Settings& settings, Tokenizer tokenizer);

  /// A warning on stderr, if these ids of a text have the one of characters that the vocabulary lacks.
  void warn_of_unknown(const std::vector<int32_t>& ids, const std::string& name) const;
  /// "diff attention, llama style, 853120 parameters"
  std::string title() const;
};

}  // namespace language_model
