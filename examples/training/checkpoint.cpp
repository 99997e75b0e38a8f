#include "examples/training/checkpoint.h"

#include <algorithm>
#include <filesystem>

#include "core/json.h"
#include "examples/text/files.h"
#include "examples/training/ranks.h"

namespace training {

namespace fs = std::filesystem;
using text::InputError;

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(TrainingState, update, best, since_best, loss, nll, targets)

namespace {
std::string kept_name(int64_t update) { return text::format("update-%07ld.safetensors", update); }
}  // namespace

Checkpoints::Checkpoints(std::string folder, Companion companion, std::string data, const SettingList& settings,
                         int64_t keep)
    : folder_(std::move(folder)),
      companion_(std::move(companion)),
      data_(std::move(data)),
      settings_(settings),
      keep_(keep) {}

void Checkpoints::save(const TrainingState& state, const difftensor::nn::Module& model,
                       const OptimizerState& optimizer) const {
  difftensor::SafeTensors file{model.state_dict(), {}, {}};
  for (auto& [name, tensor] : optimizer) file.tensors.emplace("optimizer." + name, tensor);
  std::vector<std::string> names;  // of those that an average at the end counts on
  for (const std::string& path : kept()) names.push_back(fs::path(path).filename());
  names.erase(names.begin(), names.end() - std::min(keep_, std::ssize(names)));
  file.metadata = {{"training", nlohmann::json(state).dump()},
                   {"data", data_},
                   {"settings", settings_.json().dump()},
                   {"kept", nlohmann::json(names).dump()}};
  save_run_file(folder_ + "/last.safetensors", file, companion_, settings_);
}

void Checkpoints::save_and_keep(const TrainingState& state, const difftensor::nn::Module& model,
                                const OptimizerState& optimizer) const {
  if (keep_ > 0) {
    difftensor::make_folder(folder_ + "/checkpoints");
    save_run_file(folder_ + "/checkpoints/" + kept_name(state.update), {model.state_dict(), {}, {}}, companion_,
                  settings_);
  }
  save(state, model, optimizer);
  // Old ones go last: after a kill, the training goes on from the checkpoint before, and needs what that had.
  remove_old();
}

void Checkpoints::remove_old() const {
  const std::vector<std::string> files = kept();
  for (size_t i = 0; i + static_cast<size_t>(keep_) < files.size(); ++i) difftensor::remove_file(files[i]);
}

TrainingState Checkpoints::load(difftensor::nn::Module& model,
                                const std::function<void(const OptimizerState&)>& load_optimizer,
                                std::string& notes) const {
  const std::string path = folder_ + "/last.safetensors";
  const difftensor::SafeTensors file = load_run_file(path, companion_);
  const std::vector<ChangedSetting> changed = changed_settings(path, file, settings_);
  const std::string forbidden = describe_forbidden(changed);
  if (const auto data = file.metadata.find("data"); data == file.metadata.end() || data->second != data_)
    throw InputError(path + ": the data to train or validate on are no longer those that this training began with" +
                     (forbidden.empty() ? "" : " (config.json: " + forbidden + ")"));
  if (!forbidden.empty())
    throw InputError(path + ": does not fit " + folder_ + "/config.json: " + forbidden +
                     " when it was made; put that back, or begin a new run");
  for (const ChangedSetting& c : changed) notes += c.name + " is " + c.now + ", and was " + c.before + "\n";
  if (const auto names = file.metadata.find("kept"); names != file.metadata.end())
    for (const std::string name : difftensor::parse_json(names->second, path))
      if (const std::string lost = folder_ + "/checkpoints/" + name; !fs::exists(lost))
        throw InputError(lost + ": is missing, and the average at the end counts on it");
  if (!file.metadata.contains("settings"))
    notes = path + " is of an older version and does not tell its settings: config.json is believed\n";
  std::map<std::string, difftensor::Tensor> parameters, moments;
  for (auto& [name, tensor] : file.tensors) {
    const std::string prefix = "optimizer.";
    name.starts_with(prefix) ? moments.emplace(name.substr(prefix.size()), tensor) : parameters.emplace(name, tensor);
  }
  TrainingState state;
  try {
    difftensor::parse_json(file.metadata.at("training"), "its training state").get_to(state);
    model.load_state_dict(parameters);
    load_optimizer(moments);
  } catch (const std::exception& e) {
    throw InputError(path + ": does not fit " + folder_ + "/config.json: " + e.what());
  }
  if (rank() != 0) return state;
  for (const std::string& later : kept())
    if (fs::path(later).filename() > kept_name(state.update)) difftensor::remove_file(later);
  remove_old();  // a kill may have come in between
  return state;
}

std::vector<std::string> Checkpoints::kept() const {
  std::vector<std::string> files;
  const std::string path = folder_ + "/checkpoints";
  if (!fs::is_directory(path)) return files;
  for (const std::string& name : difftensor::list_folder(path))
    if (name.starts_with("update-") && name.ends_with(".safetensors")) files.push_back(path + "/" + name);
  return files;
}

}  // namespace training
