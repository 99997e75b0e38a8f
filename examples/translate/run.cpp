#include "examples/translate/run.h"

#include <cstdio>
#include <filesystem>

#include "core/safetensors.h"
#include "examples/translate/progress.h"
#include "examples/translate/unicode.h"

namespace translate {

namespace fs = std::filesystem;
namespace models = difftensor::models;

void print_translation(const Pair& pair, const std::string& translation) {
  std::printf("  source       %s\n  translation  %s%s\n  reference    %s\n\n", pair.source.c_str(), translation.c_str(),
              translation == pair.target ? "  (exact)" : "", pair.target.c_str());
}

void create_run_folder(const std::string& folder) {
  std::error_code error;
  if (fs::exists(fs::path(folder) / "config.json"))
    throw InputError(folder + ": holds a run already; name another folder with --run, or remove this one");
  fs::create_directories(folder, error);
  if (error) throw InputError(folder + ": cannot make this folder: " + error.message());
}

void save_model(const std::string& folder, const models::Transformer& model) {
  difftensor::SafeTensors file;
  file.tensors = model.state_dict();
  difftensor::save_safetensors(folder + "/model.safetensors", file);
}

Translator Translator::load(const std::string& folder) {
  if (!fs::is_directory(folder)) throw InputError(folder + ": no such run folder");
  const std::string config_path = folder + "/config.json", model_path = folder + "/model.safetensors";
  Settings settings;
  try {
    settings = nlohmann::json::parse(read_file(config_path)).get<Settings>();
  } catch (const nlohmann::json::exception& e) {
    throw InputError(config_path + ": not the settings of a run: " + e.what());
  }
  Vocabulary vocabulary = Vocabulary::load(folder + "/spm.model");
  const difftensor::SafeTensors file = difftensor::load_safetensors(model_path);
  difftensor::Random random;
  std::unique_ptr<models::Transformer> model;
  try {
    model = std::make_unique<models::Transformer>(settings.model(vocabulary.size()), random);
    model->load_state_dict(file.tensors);
  } catch (const std::exception& e) {
    throw InputError(model_path + ": does not fit " + config_path + ": " + e.what());
  }
  model->eval();
  return {settings, std::move(vocabulary), std::move(model)};
}

std::vector<std::vector<Translation>> Translator::n_best(const std::vector<std::string>& lines,
                                                         models::DecodeOptions options, const std::string& name,
                                                         size_t first_line) const {
  std::vector<std::vector<Translation>> translations(lines.size());
  std::vector<std::vector<int32_t>> sources;
  std::vector<size_t> line_of;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (split(lines[i]).empty()) {
      translations[i].push_back({"", 0});
      continue;
    }
    std::vector<int32_t> ids = vocabulary.encode(lines[i]);
    ids.push_back(Vocabulary::eos);
    if (static_cast<int64_t>(ids.size()) > settings.max_length)
      throw InputError(name + ":" + std::to_string(first_line + i) + ": a sentence of " + std::to_string(ids.size()) +
                       " tokens; this model takes " + std::to_string(settings.max_length));
    sources.push_back(std::move(ids));
    line_of.push_back(i);
  }
  options.bos = Vocabulary::bos;
  options.eos = Vocabulary::eos;
  const auto total = static_cast<int64_t>(sources.size());
  Progress progress(total);
  const auto found = models::decode(*model, sources, options, [&](int64_t done) {
    if (done < total) progress.update(done, "sentences");
  });
  for (size_t i = 0; i < found.size(); ++i)
    for (const auto& [tokens, score] : found[i]) translations[line_of[i]].push_back({vocabulary.decode(tokens), score});
  return translations;
}

std::vector<std::string> Translator::translate(const std::vector<std::string>& lines,
                                               const models::DecodeOptions& options, const std::string& name) const {
  std::vector<std::string> best;
  for (auto& found : n_best(lines, options, name)) best.push_back(std::move(found.at(0).text));
  return best;
}

}  // namespace translate
