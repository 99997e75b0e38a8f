#include "examples/training/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/json.h"
#include "examples/text/files.h"
#include "examples/training/loop_settings.h"

namespace training {

namespace fs = std::filesystem;
using text::InputError;

Lock lock_file(const std::string& file, const std::string& path, const std::string& held) {
  Lock lock;
  try {
    lock = std::make_unique<difftensor::File>(file, O_WRONLY | O_CREAT, "cannot write into this folder");
  } catch (const std::system_error& error) {
    throw InputError(path + ": " + error.what());
  }
  if (flock(lock->descriptor(), LOCK_EX | LOCK_NB) != 0)
    throw InputError(path +
                     (errno == EWOULDBLOCK ? ": " + held : std::string(": cannot be locked: ") + std::strerror(errno)));
  return lock;
}

Lock RunFolder::lock(const std::string& path) {
  return lock_file(path + "/lock", path, "another training is at work in this folder");
}

RunFolder RunFolder::open(const std::string& path) { return {path, lock(path)}; }

RunFolder RunFolder::create(const std::string& path) {
  bool empty = false;
  try {
    difftensor::make_folder(path);
    empty = difftensor::list_folder(path).empty();
  } catch (const std::system_error& error) {
    throw InputError(path + ": cannot make this folder: " + error.code().message());
  }
  const auto holds = [&](const char* name) { return fs::exists(fs::path(path) / name); };
  if (holds("lock")) lock(path);  // throws if a training is at work, perhaps just beginning
  if (!empty)
    throw InputError(path + (holds("config.json") ? ": holds a run already; go on with it by --resume, or name "
                                                    "another folder"
                             : holds("lock")      ? ": holds a run that has no config.json, as one that was stopped "
                                                    "before it began; remove it, or name another folder"
                                                  : ": is not empty; name another folder"));
  return open(path);
}

void RunFolder::remove() {
  std::error_code ended, cannot;  // passed over: why the start failed is what has to be told
  for (fs::directory_iterator entry(path, ended); !ended && entry != fs::directory_iterator(); entry.increment(ended))
    fs::remove_all(entry->path(), cannot);
  ::rmdir(path.c_str());  // unless it is a link
}

const std::map<std::string, std::string> model_files{
    {"best", "model.safetensors"}, {"last", "last.safetensors"}, {"average", "average.safetensors"}};

void read_run_settings(const std::string& folder, SettingList& settings) {
  const std::string path = folder + "/config.json";
  settings.read(path);
  try {
    settings.resolve();
  } catch (const std::exception& e) {
    throw InputError(path + ": " + e.what());
  }
}

difftensor::SafeTensors load_run_file(const std::string& path, const Companion& companion) {
  if (!fs::exists(path)) throw InputError(path + ": no such file");
  difftensor::SafeTensors file = difftensor::load_safetensors(path);
  if (file.metadata[companion.what] != companion.fingerprint)
    throw InputError(path + ": belongs to another " + companion.what + " than " + companion.file);
  return file;
}

void save_run_file(const std::string& path, difftensor::SafeTensors content, const Companion& companion,
                   const SettingList& settings) {
  content.metadata[companion.what] = companion.fingerprint;
  nlohmann::json kept = settings.json();
  const nlohmann::json all = kept;
  for (const SettingBase* setting : settings.all())
    if (may_change(*setting, all)) kept.erase(setting->name);
  content.metadata.emplace("settings", kept.dump());
  difftensor::save_safetensors(path, content);
}

std::vector<ChangedSetting> changed_settings(const std::string& path, const difftensor::SafeTensors& file,
                                             const SettingList& settings) {
  std::vector<ChangedSetting> changed;
  const auto told = file.metadata.find("settings");
  if (told == file.metadata.end()) return changed;
  nlohmann::json before;
  try {
    before = difftensor::parse_json(told->second, "the settings in its metadata");
    difftensor::require(before.is_object(), "the settings in its metadata", "no JSON object");
  } catch (const std::invalid_argument& error) {
    throw InputError(path + ": " + error.what());
  }
  const nlohmann::json now = settings.json();
  for (const SettingBase* setting : settings.all())
    if (const std::string& name = setting->name; before.contains(name) && before[name] != now[name])
      changed.push_back({name, now[name].dump(), before[name].dump(), may_change(*setting, now)});
  return changed;
}

std::string describe_forbidden(const std::vector<ChangedSetting>& changed) {
  std::string text;
  for (const ChangedSetting& c : changed)
    if (!c.allowed) text += (text.empty() ? "" : ", ") + c.name + " is " + c.now + ", but was " + c.before;
  return text;
}

void load_run_model(const std::string& folder, const std::string& which, const Companion& companion,
                    const SettingList& settings, difftensor::nn::Module& model) {
  const std::string path = folder + "/" + model_files.at(which);
  if (which == "best" && !fs::exists(path) && fs::exists(folder + "/last.safetensors"))
    throw InputError(path +
                     ": not there yet, it comes with the first validation, at the end of an epoch; --model "
                     "last takes the last checkpoint");
  difftensor::SafeTensors file = load_run_file(path, companion);
  std::erase_if(file.tensors, [](const auto& entry) { return entry.first.starts_with("optimizer."); });
  try {
    if (const std::string changed = describe_forbidden(changed_settings(path, file, settings)); !changed.empty())
      throw InputError(changed + " when the file was made");
    model.load_state_dict(file.tensors);
  } catch (const std::exception& e) {
    throw InputError(path + ": does not fit " + folder + "/config.json: " + e.what());
  }
}

std::string fingerprint(std::string_view bytes, std::string_view more) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const std::string_view part : {bytes, more})
    for (const char byte : part) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  return text::format("%016lx", hash);
}

}  // namespace training
