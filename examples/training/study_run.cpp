#include "examples/training/study_run.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "examples/text/files.h"
#include "examples/training/loop_settings.h"
#include "examples/training/program.h"
#include "examples/training/progress.h"
#include "examples/training/report.h"
#include "examples/training/run_folder.h"
#include "examples/training/signals.h"

namespace training {

namespace fs = std::filesystem;
using text::InputError;

namespace {

class Runner {
 public:
  Runner(const Study& study, const StudyRun& how)
      : study_(study),
        how_(how),
        lock_(lock_file(how_.records + ".lock", how_.records,
                        "a study is at work with these records, or its trainings are still saving")),
        records_(read_records(how_.records)),
        progress_(static_cast<int64_t>(study_.size()), static_cast<int64_t>(done())) {
    text::require_writable(how_.records);
  }

  void run() {
    const CatchSignals catch_signals;
    for (;;) {
      while (!stop_signal && running_.size() < static_cast<size_t>(how_.jobs) && start_next()) continue;
      if (running_.empty()) {
        if (stop_signal) stop();
        break;
      }
      const auto [child, status] = wait_for_one();
      if (stop_signal) stop();
      finish(child, status);
    }
    progress_.clear();
    if (!failed_.empty())
      throw InputError(text::format("%zu trainings failed: each has a .log beside its run folder in %s", failed_.size(),
                                    how_.runs.c_str()));
    say("%zu trainings are done; their records are in %s\n", done(), how_.records.c_str());
  }

 private:
  bool is_recorded(const Trial& trial) const {
    return std::any_of(records_.begin(), records_.end(), [&](auto& r) { return trial_of(r) == trial; });
  }
  size_t done() const {
    const std::vector<Trial> trials = study_.trials(records_);
    return static_cast<size_t>(std::count_if(trials.begin(), trials.end(), [&](auto& t) { return is_recorded(t); }));
  }
  std::string folder(const Trial& trial) const { return how_.runs + "/" + trial.name(); }

  // Starts the first trial that is neither done nor running nor hopeless. Returns whether there was one. (One that
  // ended at the moment in which all was stopped has its record in its run folder already.)
  bool start_next() {
    for (const Trial& trial : study_.trials(records_)) {
      const bool busy = std::any_of(running_.begin(), running_.end(), [&](auto& r) { return r.second == trial; });
      if (busy || failed_.contains(trial.name()) || is_recorded(trial)) continue;
      const std::unique_ptr<SettingList> settings = how_.settings(trial);
      const bool begun = is_begun(trial, *settings);
      if (begun && fs::exists(folder(trial) + "/record.json"))
        add_record(trial);
      else
        running_[start(trial, begun, *settings)] = trial;
      return true;
    }
    return false;
  }

  // Is there a run to go on with? Throws InputError if it has other settings than the study: its record would tell
  // something else.
  bool is_begun(const Trial& trial, const SettingList& settings) const {
    const std::string config = folder(trial) + "/config.json";
    if (!fs::exists(config)) return false;
    const nlohmann::json before = text::read_json(config), now = settings.json();
    for (const SettingBase* setting : settings.all())
      if (const std::string& name = setting->name;
          before.contains(name) && before[name] != now[name] && !may_change(*setting, now))
        throw InputError(config + ": " + name + " is " + before[name].dump() + ", but the study has " +
                         now[name].dump() + ": remove this run folder, or name other ones with --runs");
    return true;
  }

  pid_t start(const Trial& trial, bool begun, const SettingList& settings) const {
    const std::string path = folder(trial);
    std::vector<std::string> words{how_.program, "train", "--threads", "1", "--run", path};
    if (begun) {
      words.push_back("--resume");
    } else {
      fs::remove_all(path);  // stopped before it began
      text::write_file(path + ".json", settings.json().dump(2) + "\n");
      words.insert(words.end(), {"--config", path + ".json"});
    }
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    const std::string log = path + ".log";
    const pid_t child = fork();
    if (child == -1) throw std::system_error(errno, std::generic_category(), "cannot start a training");
    if (child > 0) return child;
    // It saves and ends when its parent does, however that ends. Until then the records stay locked: the same training
    // must not be started a second time.
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    fcntl(lock_->descriptor(), F_SETFD, 0);
    const int file = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (file == -1 || dup2(file, STDOUT_FILENO) == -1 || dup2(file, STDERR_FILENO) == -1) _exit(2);
    execv("/proc/self/exe", argv.data());
    _exit(2);
  }

  // A child that has ended, and how; or nothing of worth, if a signal came.
  std::pair<pid_t, int> wait_for_one() {
    const auto before = static_cast<int64_t>(done());
    int status = 0;
    pid_t child = 0;
    while (!stop_signal && (child = waitpid(-1, &status, WNOHANG)) <= 0) {
      progress_.update(before, text::format("%zu running", running_.size()));
      ::usleep(100'000);
    }
    return {child, status};
  }

  void finish(pid_t child, int status) {
    const Trial trial = running_.at(child);
    running_.erase(child);
    progress_.clear();
    if (WIFEXITED(status) && WEXITSTATUS(status) == astray_status) {
      nlohmann::json record = how_.of_astray ? how_.of_astray() : nlohmann::json::object();
      record["astray"] = true;
      return add_record(trial, std::move(record), "went astray");
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
      failed_.insert(trial.name());
      say("%s: FAILED, see %s.log\n", trial.name().c_str(), folder(trial).c_str());
      return;
    }
    add_record(trial);
  }

  void add_record(const Trial& trial) {
    const std::string file = folder(trial) + "/record.json";
    const nlohmann::json record = text::read_json(file);
    std::string outcome;  // a record that lacks it is not kept
    reading_records(file, [&] { outcome = how_.outcome(record); });
    add_record(trial, record, outcome);
  }
  void add_record(const Trial& trial, nlohmann::json record, const std::string& outcome) {
    record.update(to_json(trial));
    records_.push_back(std::move(record));
    std::string lines;
    for (const nlohmann::json& r : records_) lines += to_line(r);
    text::write_file(how_.records, lines);
    progress_.clear();
    say("%zu/%zu  %s: %s\n", done(), study_.size(), trial.name().c_str(), outcome.c_str());
  }

  // Lets the children save and end, then does so itself.
  [[noreturn]] void stop() {
    const int signal = stop_signal;
    progress_.clear();
    for (const auto& child : running_) kill(child.first, SIGTERM);
    while (waitpid(-1, nullptr, 0) > 0 || errno == EINTR) continue;
    throw Interrupted{signal,
                      text::format("with %zu of %zu trainings done, and those at work saved", done(), study_.size()),
                      how_.go_on};
  }

  const Study& study_;
  const StudyRun& how_;
  const Lock lock_;
  Records records_;
  Progress progress_;
  std::map<pid_t, Trial> running_;
  std::set<std::string> failed_;
};

}  // namespace

void run_study(const Study& study, const StudyRun& how) {
  difftensor::make_folder(how.runs);
  reading_records(how.records, [&] { Runner(study, how).run(); });
}

}  // namespace training
