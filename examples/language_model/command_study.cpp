// language_model study run: all trainings of the study on a text.
#include <omp.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "examples/language_model/commands.h"
#include "examples/language_model/corpus.h"
#include "examples/language_model/study.h"
#include "examples/training/arms.h"
#include "examples/training/options.h"
#include "examples/training/study_run.h"

namespace language_model {
namespace {

struct Arguments {
  std::string text, config, runs = "runs/study", records;
  std::vector<std::string> train, suffixes, arms;
  int seeds = 0, jobs = omp_get_num_procs();
  int64_t updates = 0;
};

// What all trainings have in common.
nlohmann::json settings_for(const Arguments& a) {
  nlohmann::json settings = study_settings();
  if (!a.config.empty()) {
    const nlohmann::json given = read_json(a.config);
    Settings().update(given, a.config);  // names the file, if it holds no settings
    settings.update(given);
  }
  if (!a.train.empty()) settings["train"] = a.train;
  if (!a.suffixes.empty()) settings["suffixes"] = a.suffixes;
  return settings;
}

using SettingsOf = std::function<std::unique_ptr<Settings>(const Trial&)>;

// Reads the text once before any training does, so that what is wrong with it is said once. Throws InputError if
// earlier trainings were of another text, or had other settings. Returns what a record tells of both.
nlohmann::json check(const Study& study, const SettingsOf& settings_of, const Arguments& a) {
  const Trial any = study.trials({}).front();
  const std::unique_ptr<Settings> settings = settings_of(any);
  const Data data = load_data(*settings, "");
  nlohmann::json common{{"data", fingerprint_of(data.train, data.valid)}, {"settings", shared_settings(*settings)}};
  nlohmann::json record = to_json(any);
  record.update(common);
  Records records = read_records(a.records);
  std::erase_if(records, [&](const nlohmann::json& r) { return r.at("task") != study.task; });
  records.push_back(std::move(record));
  require_comparable(records, a.records);
  return common;
}

void run(Arguments a) {
  const auto safe = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_'; };
  if (a.text.empty() && !a.train.empty()) throw InputError("--train needs --text, the name that it has in the records");
  if (a.text.empty()) a.text = "sources";
  if (!std::all_of(a.text.begin(), a.text.end(), safe))
    throw InputError("--text " + a.text + ": letters, digits, - and _ make a name");
  if (a.records.empty()) a.records = a.runs + "/" + a.text + ".jsonl";
  Study study = study_of(a.text, a.updates, a.seeds);
  if (!a.arms.empty()) study.arms = a.arms;
  const nlohmann::json shared = settings_for(a);
  const auto settings = [&](const Trial& t) {
    auto s = std::make_unique<Settings>();
    s->update(shared, a.config.empty() ? "the study" : a.config);
    s->change({{"arm", t.arm}, {"lr", t.lr}, {"seed", t.seed}, {"max_updates", t.updates}}, "the study");
    s->resolve();
    return s;
  };
  nlohmann::json common;
  training::reading_records(a.records, [&] { common = check(study, settings, a); });
  const auto outcome = [](const nlohmann::json& record) {
    return format("loss %.4f, %.4f bits per byte", record.at("loss").get<double>(),
                  record.at("bits_per_byte").get<double>());
  };
  std::string go_on = "study run --text " + a.text;
  const auto add = [&](const char* flag, const std::vector<std::string>& words) {
    if (!words.empty()) go_on += flag;
    for (const std::string& word : words) go_on += " " + word;
  };
  add(" --train", a.train), add(" --suffixes", a.suffixes), add(" --arms", a.arms);
  if (!a.config.empty()) add(" --config", {a.config});
  if (a.seeds) add(" --seeds", {std::to_string(a.seeds)});
  if (a.updates) add(" --updates", {std::to_string(a.updates)});
  add(" --runs", {a.runs}), add(" --records", {a.records});
  run_study(study, {"language_model", a.runs, a.records, a.jobs, settings, outcome, go_on, [&] { return common; }});
}

void add_run_subcommand(CLI::App& study) {
  const auto a = std::make_shared<Arguments>();
  CLI::App* command = study.add_subcommand("run", "run all trainings of the study, and go on where it was stopped");
  command->add_option("--text", a->text, "the name of the text, in the records [sources: difftensor's own]");
  command->add_option("--train", a->train, "its files and folders");
  command->add_option("--suffixes", a->suffixes, "of folders, only files whose names end so");
  command->add_option("--arms", a->arms, "the arms to train [the study's six]")
      ->check(CLI::IsMember(arm_names()).description(""));
  command->add_option("--seeds", a->seeds, "report the seeds 1 to so many [10]")->check(whole_number(1, 100));
  command->add_option("--updates", a->updates, "updates of each training [400]")->check(whole_number(1));
  command->add_option("--config", a->config, "other settings than the study's, for all trainings: a JSON file");
  command->add_option("--runs", a->runs, "where the run folders go")->capture_default_str();
  command->add_option("--records", a->records, "the file of records: what it has is not run again [RUNS/TEXT.jsonl]");
  command->add_option("--jobs", a->jobs, "trainings at once, one thread each [all cores]")
      ->check(whole_number(1, 1024));
  command->callback([a] { run(*a); });
  command->footer(
      "Examples:\n"
      "  language_model study run\n"
      "  language_model study run --text captions --train train.en --jobs 4");
}

}  // namespace

void add_study_command(CLI::App& app) {
  CLI::App* study = app.add_subcommand("study", "compare kinds of attention over many seeds: run, then report");
  study->require_subcommand(1);
  study->footer("Each subcommand has its own help: language_model study run --help");
  add_run_subcommand(*study);
  add_study_report_command(*study);
}

}  // namespace language_model
