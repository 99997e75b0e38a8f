#include "examples/language_model/language_task.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/json.h"
#include "examples/language_model/attention_picture.h"
#include "examples/language_model/study.h"
#include "examples/training/history.h"
#include "examples/training/program.h"
#include "models/sample.h"

namespace language_model {

using namespace difftensor;

namespace {

// Tokens that are computed at once: enough to fill a matrix product, few enough to keep activations near.
constexpr int64_t piece_tokens = 256;

// The attentions that subtract, and so have a lambda.
NamedAttentions differential_attentions(const TrainedModel& trained) {
  if (trained.settings.attention == "softmax") return {};
  return attentions_of(*trained.model);
}

}  // namespace

std::unique_ptr<Task> Settings::make_task(const std::string& folder) const {
  return std::make_unique<LanguageTask>(*this, folder);
}

LanguageTask::LanguageTask(const Settings& settings, const std::string& folder)
    : LanguageTask(settings, load_data(settings, folder)) {}

LanguageTask::LanguageTask(const Settings& settings, Data data)
    : s_(settings),
      files_(data.files),
      train_(std::move(data.train)),
      valid_(std::move(data.valid)),
      trained_(TrainedModel::begin(s_, std::move(data.tokenizer))),
      updates_per_epoch_((train_.targets() - 1) / s_.batch_tokens + 1) {}

std::string LanguageTask::summary() const {
  std::string lines =
      format("%ld tokens of %zu files to train on, %ld to validate on; %s; %s; %d threads\n", train_.targets(), files_,
             valid_.targets(), trained_.tokenizer.description().c_str(), title().c_str(), omp_get_max_threads());
  if (valid_.unknown > 0)
    lines +=
        format("%ld tokens to validate on stand for characters that are not in the text to train on\n", valid_.unknown);
  return lines;
}

double LanguageTask::guessing_loss() const { return std::log(trained_.tokenizer.size()); }

// --- Updates ------------------------------------------------------------------------------------------------------

Update LanguageTask::begin_update(int64_t update) {
  clock_.update_begins();
  const int64_t epoch = (update - 1) / updates_per_epoch_ + 1, number = (update - 1) % updates_per_epoch_;
  if (epoch != epoch_) {
    Random random(s_.loop().seed, shuffle_stream(epoch));
    contexts_ = cut(train_, s_.context, random);
    shuffle(contexts_, random);
    epoch_ = epoch;
  }
  const auto count = static_cast<int64_t>(contexts_.size());
  const int64_t begin = number * count / updates_per_epoch_, end = (number + 1) * count / updates_per_epoch_;
  pieces_.clear(), targets_ = 0;
  for (const std::span<const Context> run : runs_of(std::span(contexts_).subspan(begin, end - begin), piece_tokens)) {
    pieces_.push_back(make_batch(train_, run));
    targets_ += pieces_.back().predicted;
  }
  return {static_cast<int64_t>(pieces_.size()), targets_, targets_};
}

PieceLoss LanguageTask::piece_loss(int64_t piece) {
  const Batch& b = pieces_[piece];
  PieceLoss result;
  CrossEntropyOptions options;
  options.normalizer = targets_;
  options.nll = &result.nll;
  result.loss = trained_.model->loss(b.ids, b.lengths, b.targets, options);
  return result;
}

// --- Validation ---------------------------------------------------------------------------------------------------

std::vector<std::string> LanguageTask::lambda_names() const { return names_of(differential_attentions(trained_)); }

Validation LanguageTask::validate() {
  clock_.update_ends();
  Validation v;
  {
    const LossByPosition loss =
        loss_by_position(*trained_.model, valid_, s_.context, differential_attentions(trained_));
    v.loss = loss.loss();
    v.figures = figures();
    v.figures[0].value = loss.percent_right();
    v.lambdas = loss.lambdas;
    v.samples = format("  %.3f bits per byte. It writes:\n", loss.bits_per_byte(valid_.bytes));
  }
  if (!std::isfinite(v.loss)) return v;  // the loop says so; from such a model nothing can be sampled
  models::SampleOptions options;
  options.temperature = 0.8, options.seed = s_.loop().seed;
  options.max_tokens = 60, options.window = s_.context, options.end = trained_.tokenizer.end();
  const std::string text =
      trained_.tokenizer.decode(models::sample(*trained_.model, {{trained_.tokenizer.end()}}, options)[0]);
  for (size_t begin = 0, end; begin < text.size(); begin = end + 1) {
    end = std::min(text.find('\n', begin), text.size());
    v.samples += "    " + one_line(text.substr(begin, end - begin)) + "\n";
  }
  return v;
}

void LanguageTask::draw(const std::string& folder) {
  const LossByPosition loss = loss_by_position(*trained_.model, valid_, s_.context);
  write_file(folder + "/loss_by_position.svg", position_chart({{"held-out text", loss.curve()}}));
  // (A finished training that was resumed has nothing to add, and would lose its cost.)
  if (const std::string record = folder + "/record.json";
      !s_.arm.is_default() && (clock_.updates() > 0 || !std::filesystem::exists(record)))
    write_file(record, make_record(folder, loss).dump() + "\n");
  if (lambda_names().empty()) return;
  // The longest held-out text has enough to look back at; more than some twenty tokens make a crowded picture. (What
  // it begins with may be given, the end of what was trained on: the last token of that predicts the first held-out one.)
  size_t longest = 0;
  for (size_t text = 1; text < valid_.texts.size(); ++text)
    if (valid_.targets(text).size() > valid_.targets(longest).size()) longest = text;
  const auto begin = valid_.texts[longest].begin() + valid_.given[longest] - 1;
  const std::vector<int32_t> ids(begin, begin + std::min<int64_t>(24, valid_.texts[longest].end() - begin));
  write_file(folder + "/attention.svg", attention_chart(attention_picture(trained_, ids)));
}

nlohmann::json LanguageTask::make_record(const std::string& folder, const LossByPosition& loss) const {
  const TrainingHistory history = read_history(folder);
  nlohmann::json curve = nlohmann::json::array(), positions = curve, lambdas = curve;
  for (const Point& p : history.valid_loss) curve.push_back({std::lround(p.x), p.y});
  for (const LossByPosition::Part& part : loss.parts(1)) positions.push_back({part.first, part.last, part.loss});
  for (const Series& series : history.lambda) lambdas.push_back(series.points.back().y);
  return {{"settings", shared_settings(s_)},
          {"data", data_fingerprint()},
          {"cpu", cpu_name()},
          {"cpu_seconds_per_update", clock_.seconds_per_update()},
          {"parameters", trained_.model->parameter_count()},
          {"loss", loss.loss()},
          {"bits_per_byte", loss.bits_per_byte(valid_.bytes)},
          {"curve", curve},
          {"positions", positions},
          {"lambda", lambdas}};
}

}  // namespace language_model
