#include "examples/training/loop.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "examples/text/files.h"
#include "examples/training/checkpoint.h"
#include "examples/training/history.h"
#include "examples/training/progress.h"
#include "examples/training/ranks.h"
#include "examples/training/report.h"
#include "examples/training/sharded_optimizer.h"
#include "examples/training/signals.h"
#include "optim/average.h"

namespace training {

using namespace difftensor;

namespace {

struct Losses {
  double smoothed = 0, nll = 0;  // summed over target tokens
};

constexpr int validations_to_reach = 5;  // a goal: one alone may be luck

class Loop {
 public:
  Loop(Task& task, const SettingList& all, const LoopSettings& s, const std::string& folder, Start start)
      : task_(task),
        s_(s),
        folder_(folder),
        model_(task.model()),
        updates_per_epoch_(task.updates_per_epoch()),
        total_(s.total_updates(updates_per_epoch_)),
        schedule_(s.learning_rate(total_)),
        optimizer_(model_.parameters(), adamw(s)),
        settings_(all),
        checkpoints_(folder_, task.companion(), task.data_fingerprint(), all, s.average),
        state_(start == Start::anew ? TrainingState() : load()),
        report_(task, folder_, state_.update) {
    if (start == Start::resume_to_new_end && state_.update >= total_)
      throw text::InputError(folder_ + ": the run has made " + std::to_string(state_.update) +
                             " updates already: its new end must come later than at " + std::to_string(total_));
    if (start == Start::anew)
      save(false);
    else
      count_goals();  // throws now, rather than after an epoch, if it cannot be drawn
    // The config comes last: a folder that has one can be resumed.
    if (rank() == 0) text::write_file(folder_ + "/config.json", all.json().dump(2) + "\n");
  }

  void run() {
    const CatchSignals catch_signals;
    Progress progress(total_, state_.update);
    while (state_.update < total_ && !patience_is_over() && !goal_is_reached()) {
      const double loss = update();
      const int64_t epoch = (state_.update - 1) / updates_per_epoch_ + 1;
      const bool last = state_.update == total_, epoch_ends = last || state_.update % updates_per_epoch_ == 0;
      progress.update(state_.update, text::format("loss %.3f", loss));
      if (last || state_.update % s_.log_every == 0) {
        progress.clear();
        report_training(epoch);
      }
      if (epoch_ends) {
        progress.clear();
        validate_and_keep_best(epoch);
      }
      const bool keep = last || (s_.save_every ? state_.update % s_.save_every == 0 : epoch_ends);
      if (keep || signal_ || epoch_ends) {
        report_.sync();  // a checkpoint counts on the lines before it
        save(keep);
      }
      if (signal_) {
        progress.clear();
        throw Interrupted{signal_, "after update " + std::to_string(state_.update),
                          "train --run " + folder_ + " --resume"};
      }
    }
  }

  void finish() {
    if (goal_is_reached())
      say("%s at its goal for %d validations: training ends after update %ld\n", figure_name(s_.best_by.value).c_str(),
          validations_to_reach, state_.update);
    else if (state_.update < total_)
      say("no better for %ld validations: training ends before update %ld\n", state_.since_best, total_);
    model_.eval();
    if (rank() == 0) {
      const Alone alone;
      task_.draw(folder_);
    }
    average();
    report_.close();
    if (ranks() > 1 && updates_here_ > 0)
      say("%d ranks: in an update, rank 0 sent %.1f MB, and waited for others in %.1f%% of the time\n", ranks(),
          exchanged_.bytes / 1e6 / static_cast<double>(updates_here_), 100 * exchanged_.seconds / updating_);
    say("trained for %.1f s, validation included; the run is in %s\n", report_.seconds(), folder_.c_str());
  }

  /// What is told before a training begins.
  std::string summary() const { return task_.summary() + s_.remark(total_); }
  int64_t updates_made() const { return state_.update; }
  /// Lines that say what is not as it was when the run was interrupted.
  const std::string& notes() const { return notes_; }

 private:
  bool patience_is_over() const { return s_.patience > 0 && state_.since_best >= s_.patience; }
  bool goal_is_reached() const { return s_.goal > 0 && at_goal_ >= validations_to_reach; }
  static ShardedOptimizer::Make adamw(const LoopSettings& s) {
    return [&s](std::vector<Tensor> parameters) {
      const optim::ParameterGroup group{std::move(parameters), static_cast<Scalar>(s.weight_decay)};
      return std::make_unique<optim::AdamW>(std::vector{group}, s.lr, optim::AdamOptions{s.beta1, s.beta2, s.eps});
    };
  }

  TrainingState load() {
    return checkpoints_.load(
        model_, [&](const auto& state) { optimizer_.load_state_dict(state); }, notes_);
  }
  void save(bool keep) {
    const auto moments = optimizer_.state_dict();
    if (rank() != 0) return;
    keep ? checkpoints_.save_and_keep(state_, model_, moments) : checkpoints_.save(state_, model_, moments);
  }

  // From the log, so that a run that goes on counts as one that was never interrupted.
  void count_goals() {
    if (rank() == 0) {
      const TrainingHistory history = read_history(folder_);
      std::vector<Point> values = history.valid_loss;
      for (const Series& figure : history.figures)
        if (figure.label == s_.best_by.value) values = figure.points;
      const auto missed = std::find_if(values.rbegin(), values.rend(),
                                       [&](Point p) { return s_.best_by == "loss" ? p.y > s_.goal : p.y < s_.goal; });
      at_goal_ = missed - values.rbegin();
    }
    at_goal_ = std::stol(all_gather(std::to_string(at_goal_))[0]);
  }

  // Leaves the gradient of the mean loss per target of the whole update. Dropout depends on the numbers of update and
  // piece, not on the past. An update's pieces are shared out in parts (task.h).
  Losses forward_backward(const Update& update, int64_t number) {
    const int64_t parts = std::min(update.pieces, update_parts);
    std::vector<Losses> losses(parts);
    optimizer_.backward(parts, [&](int64_t part) {
      const auto [begin, end] = share(update.pieces, part, parts);
      for (int64_t i = begin; i < end; ++i) {
        manual_seed(s_.seed, dropout_stream(number, i));
        PieceLoss piece = task_.piece_loss(i);
        if (number == 1 && i == 0) model_.check_registered(piece.loss);
        piece.loss.backward();
        losses[part].smoothed += static_cast<double>(piece.loss.item()) * static_cast<double>(update.targets);
        losses[part].nll += piece.nll;
      }
    });
    const std::vector<double> sum = share_sum(parts, [&](int64_t part) {
      return std::vector{losses[part].smoothed, losses[part].nll};
    });
    // A signal to any rank stops all of them, after the same update.
    for (const std::string& signal : all_gather(std::to_string(stop_signal)))
      signal_ = std::max(signal_, std::stoi(signal));
    return {sum.at(0), sum.at(1)};
  }

  // One step of the optimizer. Returns the loss.
  double update() {
    const double began = now();
    const Traffic before = traffic();
    const int64_t number = state_.update + 1;
    model_.train();
    const Update update = task_.begin_update(number);
    const Losses losses = forward_backward(update, number);
    gradient_norm_ = optimizer_.clip_grad_norm(s_.clip_norm);
    const double loss = losses.smoothed / static_cast<double>(update.targets);
    // Ten times worse than to guess with closed eyes: it will not come back.
    if (!(loss < 10 * task_.guessing_loss()) || !std::isfinite(gradient_norm_)) throw astray(number, loss);
    optimizer_.step(schedule_(number));

    state_.update = number;
    state_.loss += losses.smoothed, state_.nll += losses.nll;
    state_.targets += update.targets;
    const double took = now() - began;
    tokens_ += update.tokens, busy_ += took;
    updating_ += took, exchanged_.bytes += traffic().bytes - before.bytes;
    exchanged_.seconds += traffic().seconds - before.seconds, ++updates_here_;
    return loss;
  }

  void report_training(int64_t epoch) {
    report_.training(epoch, state_, static_cast<double>(tokens_) / busy_, optimizer_.lr(), gradient_norm_);
    state_.loss = state_.nll = 0, state_.targets = tokens_ = 0, busy_ = 0;
  }

  Validation validate() {
    model_.eval();
    Validation v = task_.validate();
    if (!std::isfinite(v.loss)) throw astray(state_.update, v.loss);
    return v;
  }

  void validate_and_keep_best(int64_t epoch) {
    const Validation v = validate();
    report_.validation(epoch, state_.update, v);
    if (s_.goal > 0) count_goals();
    double score = v.loss;  // the less, the better
    for (const Figure& f : v.figures)
      if (f.key == s_.best_by.value) score = -f.value;
    ++state_.since_best;
    if (score < state_.best) {
      state_.best = score, state_.since_best = 0;
      if (rank() != 0) return;
      save_run_file(folder_ + "/model.safetensors", {model_.state_dict(), {}, {}}, task_.companion(), settings_);
    }
  }

  // Leaves the mean of the last checkpoints as a model of its own, and says how good it is. The trained model is gone
  // then from memory.
  void average() {
    all_gather("");  // rank 0 has written them all
    const std::vector<std::string> files = checkpoints_.kept();
    if (files.empty()) return;
    optim::ParameterAverage average;
    for (const std::string& file : files) average.add(load_run_file(file, task_.companion()).tensors);
    model_.load_state_dict(average.mean());
    if (rank() == 0)
      save_run_file(folder_ + "/average.safetensors", {model_.state_dict(), {}, {}}, task_.companion(), settings_);
    say("average of the last %zu checkpoints  VALID  %s\n", files.size(), Report::summary(validate()).c_str());
  }

  Astray astray(int64_t update, double loss) const {
    return Astray("update " + std::to_string(update) + ": loss " + std::to_string(loss) + ", gradient norm " +
                  std::to_string(gradient_norm_) + ": training has gone astray; try a new run with a lower --lr (" +
                  folder_ + " keeps the last checkpoint)");
  }

  Task& task_;
  const LoopSettings& s_;
  const std::string folder_;
  nn::Module& model_;
  const int64_t updates_per_epoch_, total_;
  const optim::Schedule schedule_;
  ShardedOptimizer optimizer_;
  const SettingList& settings_;
  const Checkpoints checkpoints_;
  std::string notes_;
  TrainingState state_;
  int64_t at_goal_ = 0;  // validations in a row
  int signal_ = 0;       // that one of the ranks has got
  Report report_;
  double gradient_norm_ = 0;  // of the last update
  double busy_ = 0;           // seconds in updates, and tokens read in them, since the last report
  int64_t tokens_ = 0;
  Traffic exchanged_;  // with other ranks, in the updates made here; how long these took; how many they are
  double updating_ = 0;
  int64_t updates_here_ = 0;
};

}  // namespace

void train(Task& task, const SettingList& all, const LoopSettings& s, const std::string& folder, Start start) {
  Loop loop(task, all, s, folder, start);
  say("%s", loop.summary().c_str());
  if (start != Start::anew) say("%sgoing on after update %ld\n", loop.notes().c_str(), loop.updates_made());
  loop.run();
  loop.finish();
}

}  // namespace training
