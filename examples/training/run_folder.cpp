#include "examples/training/run_folder.h"

#include <sys/file.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "examples/text/files.h"

namespace training {

namespace fs = std::filesystem;
using text::InputError;

RunFolder::Lock RunFolder::lock(const std::string& path) {
  Lock lock(std::fopen((path + "/lock").c_str(), "ae"), std::fclose);
  if (!lock) throw InputError(path + ": cannot write into this folder: " + std::strerror(errno));
  if (flock(fileno(lock.get()), LOCK_EX | LOCK_NB) != 0)
    throw InputError(path + (errno == EWOULDBLOCK ? ": another training is at work in this folder"
                                                  : std::string(": cannot be locked: ") + std::strerror(errno)));
  return lock;
}

RunFolder RunFolder::open(const std::string& path) { return {path, lock(path)}; }

RunFolder RunFolder::create(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) throw InputError(path + ": cannot make this folder: " + error.message());
  const bool empty = fs::is_empty(path, error);
  if (error) throw InputError(path + ": cannot read this folder: " + error.message());
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

void save_run_file(const std::string& path, difftensor::SafeTensors content, const Companion& companion) {
  content.metadata[companion.what] = companion.fingerprint;
  difftensor::save_safetensors(path, content);
}

void load_run_model(const std::string& folder, const std::string& which, const Companion& companion,
                    difftensor::nn::Module& model) {
  const std::string path = folder + "/" + model_files.at(which);
  if (which == "best" && !fs::exists(path) && fs::exists(folder + "/last.safetensors"))
    throw InputError(path +
                     ": not there yet, it comes with the first validation, at the end of an epoch; --model "
                     "last takes the last checkpoint");
  difftensor::SafeTensors file = load_run_file(path, companion);
  std::erase_if(file.tensors, [](const auto& entry) { return entry.first.starts_with("optimizer."); });
  try {
    model.load_state_dict(file.tensors);
  } catch (const std::exception& e) {
    throw InputError(path + ": does not fit " + folder + "/config.json: " + e.what());
  }
}

std::string fingerprint(std::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  return text::format("%016lx", hash);
}

}  // namespace training
