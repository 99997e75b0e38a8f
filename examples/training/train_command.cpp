#include "examples/training/train_command.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "examples/text/files.h"
#include "examples/training/loop.h"
#include "examples/training/options.h"
#include "examples/training/ranks.h"
#include "examples/training/run_folder.h"

namespace training {

namespace {

// What is best must be something that the validation tells.
void check_best_by(const Setting<std::string>& best_by, const Task& task) {
  if (best_by == "loss") return;
  std::string figures = "loss";
  for (const Figure& figure : task.figures()) {
    if (best_by == figure.key.c_str()) return;
    figures += ", " + figure.key;
  }
  throw text::InputError("--best-by " + best_by.value + ": the validation of this task tells " + figures);
}

// Together: calls f, and throws on all ranks what it throws on one.
void on_all_ranks(const std::function<void()>& f) {
  std::string error;
  try {
    f();
  } catch (const std::exception& e) {
    if (ranks() == 1) throw;
    error = e.what();
  }
  const std::vector<std::string> errors = all_gather(error);
  for (size_t i = 0; i < errors.size(); ++i)
    if (!errors[i].empty()) throw text::InputError(errors[i] + (i > 0 ? text::format(" (rank %zu)", i) : ""));
}

// The task, made on every rank, of the same data and with the same first parameters.
std::unique_ptr<Task> make_task(const TrainSettings& settings, const std::string& folder) {
  std::unique_ptr<Task> task;
  on_all_ranks([&] {
    task = settings.make_task(folder);
    check_best_by(settings.loop().best_by, *task);
  });
  if (ranks() == 1) return task;
  require_same("other settings", settings.json().dump());
  require_same("other data, or another vocabulary,", task->data_fingerprint() + task->companion().fingerprint);
  std::string parameters;
  for (auto& [name, tensor] : task->model().state_dict())
    parameters += fingerprint({reinterpret_cast<const char*>(tensor.data()), tensor.numel() * sizeof(*tensor.data())});
  require_same("other initial parameters", parameters);
  return task;
}

void train_anew(TrainSettings& settings, const std::string& path) {
  settings.resolve();
  // Everything is read and checked before the folder is made, so that a mistake leaves nothing behind.
  const std::unique_ptr<Task> task = make_task(settings, "");
  std::optional<RunFolder> folder;  // rank 0's
  try {
    on_all_ranks([&] {
      if (rank() != 0) return;
      folder.emplace(RunFolder::create(path));
      task->write_files(path);
    });
    train(*task, settings, settings.loop(), path, Start::anew);
  } catch (...) {  // a folder that cannot be resumed would only be in the next start's way
    if (folder && !std::filesystem::exists(path + "/config.json")) folder->remove();
    throw;
  }
}

void resume(TrainSettings& settings, const nlohmann::json& given, const std::string& path) {
  if (!std::filesystem::exists(path + "/config.json"))
    throw text::InputError(path + ": holds no run to resume (there is no config.json)");
  read_run_settings(path, settings);
  const bool new_end = change_for_resume(settings, given, path);
  std::optional<RunFolder> folder;  // rank 0's
  on_all_ranks([&] {
    if (rank() == 0) folder.emplace(RunFolder::open(path));
  });
  const std::unique_ptr<Task> task = make_task(settings, path);
  train(*task, settings, settings.loop(), path, new_end ? Start::resume_to_new_end : Start::resume);
}

// The settings that --resume may change, as flags.
std::string changeable(const TrainSettings& settings) {
  std::string flags;
  for (const SettingBase* setting : settings.all())
    if (setting->on_resume == OnResume::may_change) flags += (flags.empty() ? "" : ", ") + setting->flag();
  return flags;
}

}  // namespace

void add_train_command(CLI::App& app, const std::function<std::unique_ptr<TrainSettings>()>& make) {
  struct Arguments {
    std::unique_ptr<TrainSettings> flags;
    std::string run, config;
    bool resume = false;
  };
  const auto a = std::make_shared<Arguments>();
  a->flags = make();
  CLI::App* command = app.add_subcommand("train", "train a model");
  command->add_option("--run", a->run, "the run folder to make, or to resume")->required();
  a->flags->add_options(*command);
  CLI::Option* config = command->add_option("--config", a->config, "settings from a JSON file; flags win over it");
  command
      ->add_flag("--resume", a->resume,
                 "go on with a run that was interrupted; may be given anew: " + changeable(*a->flags) +
                     " (the end only with inverse-sqrt)")
      ->excludes(config);
  add_threads_option(*command);
  command->footer("Example:\n  " + app.get_name() + " train --run runs/mine --seed 2\n  " + app.get_name() +
                  " train --run runs/mine --resume");
  command->callback([a, command, make] {
    const nlohmann::json given = a->flags->given(*command);
    const std::unique_ptr<TrainSettings> settings = make();
    if (a->resume) return resume(*settings, given, a->run);
    if (!a->config.empty()) settings->read(a->config);
    settings->change(given, "the command line");
    train_anew(*settings, a->run);
  });
}

}  // namespace training
