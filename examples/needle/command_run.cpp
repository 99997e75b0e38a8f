#include <fcntl.h>
#include <omp.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <set>

#include "examples/needle/commands.h"
#include "examples/needle/study.h"
#include "examples/text/files.h"
#include "examples/training/options.h"
#include "examples/training/progress.h"
#include "examples/training/report.h"
#include "examples/training/signals.h"

namespace needle {

namespace fs = std::filesystem;
using text::format;
using text::InputError;

namespace {

struct Arguments {
  std::string study = "first", runs, records;
  bool quick = false;
  int64_t updates = 0, check_sequences = 0;
  int jobs = omp_get_num_procs();
};

// Runs trials as processes of their own, `needle train` on one thread each, and gathers their records.
class Runner {
 public:
  explicit Runner(const Arguments& a)
      : a_(a),
        study_(study_named(a.study, a.updates)),
        records_path_(a.records),
        records_(read_records(records_path_)) {
    text::require_writable(records_path_);
  }

  void run() {
    const training::CatchSignals catch_signals;
    training::Progress progress(static_cast<int64_t>(study_.size()), static_cast<int64_t>(done()));
    for (;;) {
      while (!training::stop_signal && running_.size() < static_cast<size_t>(a_.jobs) && start_next()) continue;
      if (running_.empty()) break;
      const auto [child, status] = wait_for_one(progress);
      if (training::stop_signal) stop(progress);
      finish(child, status, progress);
    }
    progress.clear();
    if (!failed_.empty())
      throw InputError(
          format("%zu trainings failed: each has a .log beside its run folder in %s", failed_.size(), a_.runs.c_str()));
    training::say("%zu trainings are done; their records are in %s\n", done(), records_path_.c_str());
  }

 private:
  bool is_recorded(const Trial& trial) const {
    return std::any_of(records_.begin(), records_.end(), [&](auto& r) { return trial_of(r) == trial; });
  }
  size_t done() const {
    const std::vector<Trial> trials = study_.trials(records_);
    return static_cast<size_t>(std::count_if(trials.begin(), trials.end(), [&](auto& t) { return is_recorded(t); }));
  }
  std::string folder(const Trial& trial) const { return a_.runs + "/" + trial.name(); }

  // Starts the first trial that is neither done nor running nor hopeless. Returns whether there was one.
  bool start_next() {
    for (const Trial& trial : study_.trials(records_)) {
      const bool busy = std::any_of(running_.begin(), running_.end(), [&](auto& r) { return r.second == trial; });
      if (busy || failed_.contains(trial.name()) || is_recorded(trial)) continue;
      running_[start(trial)] = trial;
      return true;
    }
    return false;
  }

  pid_t start(const Trial& trial) const {
    const std::string path = folder(trial);
    std::vector<std::string> words{"needle", "train", "--threads", "1", "--run", path};
    if (fs::exists(path + "/config.json")) {
      words.push_back("--resume");
    } else {
      fs::remove_all(path);  // stopped before it began
      for (const auto& [flag, value] :
           std::map<std::string, std::string>{{"--task", trial.task},
                                              {"--arm", trial.arm},
                                              {"--lr", format("%g", trial.lr)},
                                              {"--seed", std::to_string(trial.seed)},
                                              {"--max-updates", std::to_string(trial.updates)}})
        words.push_back(flag), words.push_back(value);
      if (a_.check_sequences) words.push_back("--check-sequences"), words.push_back(std::to_string(a_.check_sequences));
    }
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    const std::string log = path + ".log";
    const pid_t child = fork();
    if (child == -1) throw std::system_error(errno, std::generic_category(), "cannot start a training");
    if (child > 0) return child;
    // It saves and ends when its parent does, however that ends.
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    const int file = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (file == -1 || dup2(file, STDOUT_FILENO) == -1 || dup2(file, STDERR_FILENO) == -1) _exit(2);
    execv("/proc/self/exe", argv.data());
    _exit(2);
  }

  // A child that has ended, and how; or nothing of worth, if a signal came.
  std::pair<pid_t, int> wait_for_one(training::Progress& progress) const {
    const auto before = static_cast<int64_t>(done());
    int status = 0;
    pid_t child = 0;
    while (!training::stop_signal && (child = waitpid(-1, &status, WNOHANG)) <= 0) {
      progress.update(before, format("%zu running", running_.size()));
      ::usleep(100'000);
    }
    return {child, status};
  }

  void finish(pid_t child, int status, training::Progress& progress) {
    const Trial trial = running_.at(child);
    running_.erase(child);
    progress.clear();
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
      failed_.insert(trial.name());
      training::say("%s: FAILED, see %s.log\n", trial.name().c_str(), folder(trial).c_str());
      return;
    }
    records_.push_back(read_records(folder(trial) + "/record.json").at(0));
    std::string lines;
    for (const nlohmann::json& record : records_) lines += record.dump() + "\n";
    text::write_file(records_path_, lines);
    const int64_t updates = updates_to(0.99, records_.back());
    training::say("%zu/%zu  %s: %s; accuracy %.4f at the end\n", done(), study_.size(), trial.name().c_str(),
                  updates ? format("99%% after %ld updates", updates).c_str() : "never at 99%",
                  records_.back().at("tests").at("as trained").at("accuracy").get<double>());
  }

  // Lets the children save and end, then does so itself.
  [[noreturn]] void stop(training::Progress& progress) {
    const int signal = training::stop_signal;
    progress.clear();
    for (const auto& child : running_) kill(child.first, SIGTERM);
    while (waitpid(-1, nullptr, 0) > 0 || errno == EINTR) continue;
    throw training::Interrupted{
        signal, format("with %zu of %zu trainings done, and those at work saved", done(), study_.size()),
        "run --study " + study_.name + " --runs " + a_.runs + " --records " + records_path_ +
            (a_.updates ? " --updates " + std::to_string(a_.updates) : "")};
  }

  const Arguments& a_;
  const Study study_;
  const std::string records_path_;
  Records records_;
  std::map<pid_t, Trial> running_;
  std::set<std::string> failed_;
};

}  // namespace

void add_run_command(CLI::App& app) {
  const auto a = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("run", "run all trainings of a study, and go on where it was stopped");
  command->add_option("--study", a->study, "quick, first or confirmatory");
  command->add_flag("--quick", a->quick, "the study quick: three arms side by side");
  command->add_option("--runs", a->runs, "where the run folders go [runs/needle]");
  command->add_option("--records", a->records, "the file of records: what it has is not run again [RUNS/STUDY.jsonl]");
  command->add_option("--updates", a->updates, "updates of each training [the study's]")
      ->check(training::whole_number(1));
  command->add_option("--check-sequences", a->check_sequences, "as train has it")->check(training::whole_number(1));
  command->add_option("--jobs", a->jobs, "trainings at once, one thread each [all cores]")
      ->check(training::range(1, 1024));
  command->callback([a] {
    if (a->quick) a->study = "quick";
    if (a->runs.empty()) a->runs = "runs/needle";
    if (a->records.empty()) a->records = a->runs + "/" + study_named(a->study, 0).name + ".jsonl";
    fs::create_directories(a->runs);
    Runner(*a).run();
  });
}

}  // namespace needle
