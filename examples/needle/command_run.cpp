#include <omp.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "examples/needle/commands.h"
#include "examples/needle/settings.h"
#include "examples/needle/study.h"
#include "examples/text/files.h"
#include "examples/training/options.h"
#include "examples/training/study_run.h"

namespace needle {

using text::format;

namespace {

struct Arguments {
  std::string study = "first", runs, records;
  std::vector<std::string> arms;
  bool quick = false;
  int64_t updates = 0, check_sequences = 0;
  int jobs = omp_get_num_procs();
};

std::string outcome(const nlohmann::json& record) {
  const int64_t updates = updates_to(0.99, record);
  return (updates ? format("99%% after %ld updates", updates) : "never at 99%") +
         format("; accuracy %.4f at the end", record.at("tests").at("as trained").at("accuracy").get<double>());
}

void run(const Arguments& a) {
  Study study = study_named(a.study, a.updates);
  std::string arms;
  for (const std::string& arm : a.arms) {
    if (std::find(study.arms.begin(), study.arms.end(), arm) == study.arms.end())
      throw text::InputError("--arms " + arm + ": the study " + study.name + " has no such arm");
    arms += " " + arm;
  }
  if (!a.arms.empty()) study.arms = a.arms;
  const auto settings = [&](const Trial& t) {
    auto s = std::make_unique<Settings>();
    s->change({{"arm", t.arm}, {"lr", t.lr}, {"max_updates", t.updates}, {"seed", t.seed}, {"task", t.task}},
              "the study");
    if (a.check_sequences) s->check_sequences = a.check_sequences;
    s->resolve();
    return s;
  };
  training::reading_records(a.records, [&] {
    Records records = training::read_records(a.records);
    const Trial any = study.trials({}).front();
    records.push_back(training::to_json(any));
    records.back()["check_sequences"] = settings(any)->check_sequences.value;
    require_comparable(records, a.records);
  });
  training::run_study(study,
                      {"needle", a.runs, a.records, a.jobs, settings, outcome,
                       "run --study " + study.name + (arms.empty() ? "" : " --arms" + arms) + " --runs " + a.runs +
                           " --records " + a.records + (a.updates ? " --updates " + std::to_string(a.updates) : "") +
                           (a.check_sequences ? " --check-sequences " + std::to_string(a.check_sequences) : "")});
}

}  // namespace

void add_run_command(CLI::App& app) {
  const auto a = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("run", "run all trainings of a study, and go on where it was stopped");
  command->add_option("--study", a->study, "quick, first or confirmatory");
  command->add_flag("--quick", a->quick, "the study quick: three arms side by side");
  command->add_option("--arms", a->arms, "only these arms of the study: the others can follow");
  command->add_option("--runs", a->runs, "where the run folders go [runs/needle]");
  command->add_option("--records", a->records, "the file of records: what it has is not run again [RUNS/STUDY.jsonl]");
  command->add_option("--updates", a->updates, "updates of each training [the study's]")
      ->check(training::whole_number(1));
  command->add_option("--check-sequences", a->check_sequences, "as train has it")
      ->check(training::whole_number(1, 1000000));
  command->add_option("--jobs", a->jobs, "trainings at once, one thread each [all cores]")
      ->check(training::whole_number(1, 1024));
  command->callback([a] {
    if (a->quick) a->study = "quick";
    if (a->runs.empty()) a->runs = "runs/needle";
    if (a->records.empty()) a->records = a->runs + "/" + study_named(a->study, 0).name + ".jsonl";
    run(*a);
  });
}

}  // namespace needle
