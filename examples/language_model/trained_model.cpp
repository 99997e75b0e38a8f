#include "examples/language_model/trained_model.h"

#include <cstdio>
#include <filesystem>

#include "examples/text/files.h"

namespace language_model {

TrainedModel TrainedModel::begin(const Settings& settings, Tokenizer tokenizer) {
  auto model = settings.make_model(tokenizer.size());
  return {settings, std::move(tokenizer), std::move(model)};
}

TrainedModel TrainedModel::load(const std::string& folder, const std::string& which) {
  if (!std::filesystem::is_directory(folder)) throw InputError(folder + ": no such run folder");
  Settings settings;
  read_run_settings(folder, settings);
  TrainedModel trained = begin(settings, Tokenizer::load(folder, settings.vocab_size));
  load_run_model(folder, which, trained.tokenizer.companion(), settings, *trained.model);
  trained.model->eval();
  return trained;
}

void TrainedModel::warn_of_unknown(const std::vector<int32_t>& ids, const std::string& name) const {
  if (tokenizer.unknown(ids) > 0)
    std::fprintf(stderr, "warning: %s has characters that the vocabulary lacks: the model sees one token for all\n",
                 name.c_str());
}

std::string TrainedModel::title() const {
  std::string norm;
  if (settings.head_norm != "published") norm = settings.head_norm == "yes" ? " with head norm" : " without head norm";
  return settings.attention.value + " attention" + norm + ", " + settings.style.value + " style, " +
         std::to_string(model->parameter_count()) + " parameters";
}

}  // namespace language_model
