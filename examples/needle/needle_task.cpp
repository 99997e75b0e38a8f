#include "examples/needle/needle_task.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "examples/needle/arms.h"
#include "examples/needle/measure.h"
#include "examples/training/history.h"
#include "examples/training/lambdas.h"
#include "examples/training/program.h"
#include "examples/training/ranks.h"

namespace needle {

using namespace difftensor;
using text::format;

namespace {
// Tokens that are computed at once: enough to fill a matrix product, few enough to keep activations near.
constexpr int64_t piece_tokens = 256;
}  // namespace

Random test_random(uint64_t stream) { return Random(test_seed, stream); }

Settings::Settings() {
  loop_settings.lr = 0.001, loop_settings.warmup = 100, loop_settings.weight_decay = 0;
  loop_settings.best_by = "accuracy", loop_settings.goal = 99;
  loop_settings.min_lr = -1, loop_settings.min_lr.help = "where cosine ends [a tenth of --lr]";
  loop_settings.max_updates.help = format("stop there [%ld, of needle2 %ld; no limit with --max-epochs]",
                                          retrieval_task("needle1").updates, retrieval_task("needle2").updates);
}

void Settings::change(const nlohmann::json& values, const std::string& source) {
  loop_settings.forget_limits(values);
  if (values.contains("lr")) loop_settings.min_lr = -1;
  const std::string figure = loop_settings.best_by;
  update(values, source);
  if (loop_settings.best_by.value != figure && !values.contains("goal")) loop_settings.goal = 0;  // it was of that one
}

void Settings::resolve() {
  const RetrievalTask& chosen = retrieval_task(task);
  if (loop_settings.max_epochs == 0 && loop_settings.max_updates == 0) loop_settings.max_updates = chosen.updates;
  if (loop_settings.min_lr == -1.0) loop_settings.min_lr = loop_settings.lr / 10;
  TrainSettings::resolve();
  loop_settings.check();
  arm_config(arm, chosen.test.vocab());
}

std::unique_ptr<Task> Settings::make_task(const std::string&) const { return std::make_unique<NeedleTask>(*this); }

NeedleTask::NeedleTask(const Settings& settings)
    : s_(settings), task_(retrieval_task(s_.task)), model_(make_model(s_.arm, task_.test.vocab(), s_.loop().seed)) {}

std::string NeedleTask::data_fingerprint() const {
  Random random = test_random(0);
  const Questions first = sample(task_.test, 1, random);
  return fingerprint({reinterpret_cast<const char*>(first.ids.data()), first.ids.size() * sizeof(int32_t)});
}

std::string NeedleTask::title() const {
  return s_.arm.value + ", " + s_.task.value + ", " + std::to_string(model_->parameter_count()) + " parameters";
}

std::string NeedleTask::summary() const {
  const Retrieval& r = task_.test;
  return format("%s: %ld needles in %ld tokens, %ld questions; guessing is right in 1 of %ld; %d threads\n",
                title().c_str(), r.needles, r.context, r.queries, r.values, omp_get_max_threads());
}

double NeedleTask::guessing_loss() const { return std::log(static_cast<double>(task_.test.vocab())); }

// Which setting an update has, and its sequences, depend on the seed and its number: all arms see the same.
Update NeedleTask::begin_update(int64_t update) {
  clock_.update_begins();
  Random random(s_.loop().seed, shuffle_stream(update));
  const bool easy = static_cast<double>(random.uniform()) < task_.share_easy;
  const Retrieval& setting = easy ? task_.easy[random.below(task_.easy.size())] : task_.test;
  update_ = sample(setting, std::max<int64_t>(1, task_.tokens / setting.length()), random);
  const auto sequences = static_cast<int64_t>(update_.lengths.size());
  const int64_t in_piece = std::max<int64_t>(1, piece_tokens / setting.length());
  pieces_ = (sequences + in_piece - 1) / in_piece;
  return {pieces_, static_cast<int64_t>(update_.answers.size()), static_cast<int64_t>(update_.ids.size())};
}

PieceLoss NeedleTask::piece_loss(int64_t piece) {
  const auto sequences = static_cast<int64_t>(update_.lengths.size());
  const Questions q = slice(update_, piece * sequences / pieces_, (piece + 1) * sequences / pieces_);
  PieceLoss result;
  CrossEntropyOptions options;
  options.normalizer = static_cast<int64_t>(update_.answers.size());
  options.nll = &result.nll;
  // The answers alone are learned: filler cannot be predicted.
  const Tensor asked = gather_rows(model_->decode(q.ids, nn::packed_sequences(q.lengths)), q.where);
  result.loss = linear_cross_entropy(asked, model_->output_weight(), q.answers, options);
  return result;
}

std::vector<std::string> NeedleTask::lambda_names() const {
  if (model_->config.attention == models::AttentionKind::softmax) return {};
  return names_of(attentions_of(*model_));
}

Validation NeedleTask::validate() {
  clock_.update_ends();
  const Score score = evaluate(*model_, task_.test, s_.check_sequences, test_random(1));
  Validation v;
  v.loss = score.loss;
  v.figures = figures();
  v.figures[0].value = 100 * score.accuracy;
  if (lambda_names().empty()) return v;
  const Alone alone;  // one sequence is not worth sharing out
  const LambdaMeter lambdas(attentions_of(*model_));
  evaluate(*model_, task_.test, 1, test_random(1));
  std::vector<double> sums;
  lambdas.append_sums(sums);
  v.lambdas = LambdaMeter::means(sums);
  return v;
}

// --- What is told of it -------------------------------------------------------------------------------------------

void NeedleTask::draw(const std::string& folder) {
  // A finished training that was resumed has nothing to add, and would lose its cost.
  if (clock_.updates() == 0 && std::filesystem::exists(folder + "/record.json")) return;
  text::write_file(folder + "/record.json", make_record(folder).dump() + "\n");
}

nlohmann::json NeedleTask::make_record(const std::string& folder) const {
  const Retrieval& r = task_.test;
  const TrainingHistory history = read_history(folder);
  nlohmann::json curve = nlohmann::json::array();  // of update, accuracy, loss
  for (size_t i = 0; i < history.valid_loss.size(); ++i)
    curve.push_back(
        {std::lround(history.valid_loss[i].x), history.figures.at(0).points.at(i).y / 100, history.valid_loss[i].y});

  nlohmann::json tests;
  const int64_t test_sequences = 4 * s_.check_sequences;
  const auto test = [&](const std::string& name, const Retrieval& setting, int64_t sequences) {
    const Score score = evaluate(*model_, setting, sequences, test_random(2));
    tests[name] = {{"accuracy", score.accuracy}, {"loss", score.loss}, {"depth", score.accuracy_by_depth}};
  };
  test("as trained", r, test_sequences);
  const int64_t most = std::min((r.context - 1) / (r.key_tokens + 1), r.keys());
  for (const int64_t needles : {r.needles / 2, 2 * r.needles, 3 * r.needles, most})
    if (needles <= most)
      test("needles " + std::to_string(needles), r.resized(r.context, needles, r.queries), test_sequences);
  for (const int64_t queries : {int64_t{1}, int64_t{4}, r.needles})
    test("queries " + std::to_string(queries), r.resized(r.context, r.needles, queries), test_sequences);
  for (const int64_t times : {2, 4}) {
    const std::string name = "context x" + std::to_string(times);
    test(name, r.resized(times * r.context, r.needles, r.queries), std::max<int64_t>(1, test_sequences / times));
    test(name + " as dense", r.resized(times * r.context, std::min(times * r.needles, r.keys()), r.queries),
         std::max<int64_t>(1, test_sequences / times));
  }

  Random random = test_random(3);
  nlohmann::json record = look_inside(*model_, sample(r, 16, random));
  record.update({{"task", s_.task.value},
                 {"arm", s_.arm.value},
                 {"lr", s_.loop().lr.value},
                 {"seed", s_.loop().seed.value},
                 {"max_updates", s_.loop().max_updates.value},
                 {"cpu", cpu_name()},
                 {"parameters", model_->parameter_count()},
                 {"updates", curve.back().at(0)},
                 {"cpu_seconds_per_update", clock_.seconds_per_update()},
                 {"timed_updates", clock_.updates()},
                 {"check_sequences", s_.check_sequences.value},
                 {"curve", curve},
                 {"tests", tests}});
  return record;
}

}  // namespace needle
