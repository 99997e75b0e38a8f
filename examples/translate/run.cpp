#include "examples/translate/run.h"

#include <sys/file.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "examples/translate/progress.h"
#include "examples/translate/unicode.h"

namespace translate {

namespace fs = std::filesystem;
namespace models = difftensor::models;

void print_translation(const Pair& pair, const std::string& translation) {
  std::printf("  source       %s\n  translation  %s%s\n  reference    %s\n\n", pair.source.c_str(), translation.c_str(),
              translation == pair.target ? "  (exact)" : "", pair.target.c_str());
}

RunLock lock_run_folder(const std::string& folder) {
  RunLock lock(std::fopen((folder + "/lock").c_str(), "ae"), std::fclose);
  if (!lock) throw InputError(folder + ": cannot write into this folder: " + std::strerror(errno));
  if (flock(fileno(lock.get()), LOCK_EX | LOCK_NB) != 0)
    throw InputError(folder + (errno == EWOULDBLOCK ? ": another training is at work in this folder"
                                                    : std::string(": cannot be locked: ") + std::strerror(errno)));
  return lock;
}

RunLock create_run_folder(const std::string& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw InputError(folder + ": cannot make this folder: " + error.message());
  const bool empty = fs::is_empty(folder, error);
  if (error) throw InputError(folder + ": cannot read this folder: " + error.message());
  const auto holds = [&](const char* name) { return fs::exists(fs::path(folder) / name); };
  if (holds("lock")) lock_run_folder(folder);  // throws if a training is at work, perhaps just beginning
  if (!empty)
    throw InputError(folder + (holds("config.json") ? ": holds a run already; go on with it by --resume, or name "
                                                      "another folder"
                               : holds("lock")      ? ": holds a run that has no config.json, as one that was stopped "
                                                      "before it began; remove it, or name another folder"
                                                    : ": is not empty; name another folder"));
  return lock_run_folder(folder);
}

const std::map<std::string, std::string> model_files{
    {"best", "model.safetensors"}, {"last", "last.safetensors"}, {"average", "average.safetensors"}};

std::string fingerprint(std::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  char text[17];
  std::snprintf(text, sizeof text, "%016lx", hash);
  return text;
}

difftensor::SafeTensors load_run_file(const std::string& path, const Vocabulary& vocabulary) {
  if (!fs::exists(path)) throw InputError(path + ": no such file");
  difftensor::SafeTensors file = difftensor::load_safetensors(path);
  if (file.metadata["vocabulary"] != fingerprint(vocabulary.model()))
    throw InputError(path + ": belongs to another vocabulary than spm.model");
  return file;
}

void save_run_file(const std::string& path, difftensor::SafeTensors content, const Vocabulary& vocabulary) {
  content.metadata["vocabulary"] = fingerprint(vocabulary.model());
  difftensor::save_safetensors(path, content);
}

Settings load_run_settings(const std::string& folder) {
  const std::string path = folder + "/config.json";
  Settings settings = Settings::read(path);
  try {
    settings.resolve();
  } catch (const std::exception& e) {
    throw InputError(path + ": " + e.what());
  }
  return settings;
}

Translator Translator::load(const std::string& folder, const std::string& which) {
  if (!fs::is_directory(folder)) throw InputError(folder + ": no such run folder");
  const std::string config_path = folder + "/config.json", model_path = folder + "/" + model_files.at(which);
  Settings settings = load_run_settings(folder);
  if (which == "best" && !fs::exists(model_path) && fs::exists(folder + "/last.safetensors"))
    throw InputError(model_path +
                     ": not there yet, it comes with the first validation, at the end of an epoch; --model "
                     "last takes the last checkpoint");
  Vocabulary vocabulary = Vocabulary::load(folder + "/spm.model");
  difftensor::SafeTensors file = load_run_file(model_path, vocabulary);
  std::erase_if(file.tensors, [](const auto& entry) { return entry.first.starts_with("optimizer."); });
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
    if (is_blank(lines[i])) {
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
  options.max_length_factor = settings.max_length_factor;
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
