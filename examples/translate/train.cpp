#include "examples/translate/train.h"

#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <set>

#include "core/kernels/parallel.h"
#include "core/parallel_backward.h"
#include "examples/translate/bleu.h"
#include "examples/translate/charts.h"
#include "examples/translate/checkpoint.h"
#include "examples/translate/data.h"
#include "examples/translate/history.h"
#include "examples/translate/inspect.h"
#include "examples/translate/lambdas.h"
#include "examples/translate/progress.h"
#include "examples/translate/run.h"
#include "examples/translate/signals.h"
#include "examples/translate/svg.h"
#include "examples/translate/train_log.h"
#include "optim/average.h"
#include "optim/clip.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"

namespace translate {

using namespace difftensor;

namespace {

// Tokens that are computed at once: enough to fill a matrix product, few enough to keep activations near.
constexpr int64_t micro_batch_tokens = 256;

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// A field of a log: 0 if someone put text there.
double number(const std::string& field) { return std::strtod(field.c_str(), nullptr); }

class Trainer {
 public:
  // A new run, or one that goes on: to the end that it had, or a new one.
  Trainer(const Settings& settings, const std::string& folder, bool resume, bool new_end)
      : s_(settings),
        folder_(folder),
        run_(resume ? reopen() : prepare()),
        updates_per_epoch_(static_cast<int64_t>(sorted_batches(train_, s_.batch_tokens).size())),
        total_(total_updates()),
        schedule_(s_.learning_rate(total_)),
        optimizer_({{model().parameters(), s_.weight_decay}}, s_.lr, {s_.beta1, s_.beta2, s_.eps}),
        checkpoints_(folder, run_.vocabulary, data_fingerprint(), s_.average),
        state_(resume ? checkpoints_.load(model(), optimizer_) : TrainingState()),
        log_(folder + "/train_log.csv",
             "kind,epoch,update,loss,perplexity,tokens_per_second,lr,gradient_norm,bleu,exact,seconds", state_.update) {
    const LambdaMeter lambdas(model());
    std::string lambda_columns;
    for (const std::string& name : lambdas.names()) lambda_columns += "," + name;
    if (!lambda_columns.empty()) lambda_log_.emplace(folder + "/lambda.csv", "update" + lambda_columns, state_.update);
    if (new_end && state_.update >= total_)
      throw InputError(folder + ": the run has made " + std::to_string(state_.update) +
                       " updates already: its new end must come later than at " + std::to_string(total_));
    if (resume) read_history(folder_);  // throws now, rather than after an epoch, if it cannot be drawn
    if (!resume) checkpoints_.save(state_, model(), optimizer_);
    // The config comes last: a folder that has one can be resumed.
    write_file(folder_ + "/config.json", nlohmann::json(s_).dump(2) + "\n");
    report(
        "%zu pairs to train on, %zu to validate on; %d subwords; %s attention, %s style, %ld parameters; %d threads\n",
        train_.size(), valid_.size(), run_.vocabulary.size(), s_.attention.c_str(), s_.style.c_str(),
        model().parameter_count(), omp_get_max_threads());
    models::DecodeOptions decoding;
    decoding.max_length_factor = s_.max_length_factor;
    if (const int64_t cut = targets_out_of_reach(train_, decoding))
      report(
          "%ld of their targets are longer than %g times the source and %ld tokens, where the model's translations "
          "are cut off: --max-length-factor\n",
          cut, s_.max_length_factor, decoding.max_length_extra);
    if (resume) report("going on after update %ld\n", state_.update);
  }

  void run() {
    // The time of earlier sessions counts.
    start_ = seconds() - (log_.lines().empty() ? 0 : number(log_.lines().back().back()));
    make_updates();
    if (state_.update < total_)
      report("no better for %ld validations: training ends before update %ld\n", state_.since_best, total_);
    draw_attention();
    average();
    report("trained for %.1f s, validation and its translations included; the run is in %s\n", seconds() - start_,
           folder_.c_str());
  }

 private:
  struct Losses {
    double smoothed = 0, nll = 0;  // summed over target tokens
  };
  struct Validation {
    double loss = 0;
    Bleu bleu;
    double exact = 0;  // per cent
    std::vector<std::string> samples;
    std::vector<double> lambdas;  // of each differential attention: the mean over all validation tokens
  };

  models::Transformer& model() { return *run_.model; }

  void make_updates() {
    const CatchSignals catch_signals;
    Progress progress(total_, state_.update);
    while (state_.update < total_ && !patience_is_over()) {
      const int64_t epoch = state_.update / updates_per_epoch_ + 1;
      const std::vector<Batch> batches = epoch_batches(epoch);
      for (bool epoch_ends = false; !epoch_ends;) {
        update(batches[static_cast<size_t>(state_.update % updates_per_epoch_)], progress);
        epoch_ends = state_.update % updates_per_epoch_ == 0 || state_.update == total_;
        if (state_.update % s_.log_every == 0 || state_.update == total_) {
          progress.clear();
          report_training(epoch);
        }
        if (epoch_ends) {
          progress.clear();
          validate_and_keep_best(epoch);
        }
        const int signal = stop_signal;
        if (state_.update == total_ || (s_.save_every ? state_.update % s_.save_every == 0 : epoch_ends))
          checkpoints_.save_and_keep(state_, model(), optimizer_);
        else if (signal || epoch_ends)
          checkpoints_.save(state_, model(), optimizer_);
        if (signal) {
          progress.clear();
          report("stopped by %s after update %ld; go on with: translate train --run %s --resume\n",
                 signal == SIGINT ? "SIGINT" : "SIGTERM", state_.update, folder_.c_str());
          throw Interrupted{signal};
        }
      }
    }
  }

  // Reads and checks everything before the folder is made, so that a mistake leaves nothing behind.
  Translator prepare() {
    Splits splits = load_pairs(s_);
    std::vector<std::string> sentences;
    for (const Pair& pair : splits.train) {
      sentences.push_back(pair.source);
      sentences.push_back(pair.target);
    }
    Translator run = make_run(Vocabulary::train(sentences, s_.vocab_size), std::move(splits));
    lock_ = create_run_folder(folder_);
    write_file(folder_ + "/spm.model", run.vocabulary.model());
    return run;
  }

  // The same for a run that is there already.
  Translator reopen() {
    lock_ = lock_run_folder(folder_);
    return make_run(Vocabulary::load(folder_ + "/spm.model"), load_pairs(s_));
  }

  Translator make_run(Vocabulary vocabulary, Splits splits) {
    train_ = encode(splits.train, vocabulary, s_.max_length, train_files(s_));
    valid_ = encode(splits.valid, vocabulary, s_.max_length, valid_files(s_));
    valid_pairs_ = std::move(splits.valid);
    if (s_.overfit_one_batch) keep_one_batch(splits.train);
    Random random(s_.seed);
    auto model = std::make_unique<models::Transformer>(s_.model(vocabulary.size()), random);
    return {s_, std::move(vocabulary), std::move(model)};
  }

  // Validates on what is trained on: a batch of sentences of middling length.
  void keep_one_batch(const std::vector<Pair>& pairs) {
    const std::vector<Batch> batches = sorted_batches(train_, s_.batch_tokens);
    valid_.clear(), valid_pairs_.clear();
    for (const size_t i : batches[batches.size() / 2].examples) {
      valid_.push_back(train_[i]);
      valid_pairs_.push_back(pairs[i]);
    }
  }

  // An epoch's batches depend on its number, not on the past.
  std::vector<Batch> epoch_batches(int64_t epoch) const {
    Random random(s_.seed, shuffle_stream(epoch));
    std::vector<Batch> batches = shuffled_batches(train_, updates_per_epoch_, random);
    if (s_.overfit_one_batch) std::fill(batches.begin(), batches.end(), sorted_batches(valid_, s_.batch_tokens).at(0));
    return batches;
  }

  int64_t total_updates() const {
    if (s_.max_epochs == 0) return s_.max_updates;
    const int64_t updates = s_.max_epochs * updates_per_epoch_;
    return s_.max_updates ? std::min(s_.max_updates, updates) : updates;
  }

  bool patience_is_over() const { return s_.patience > 0 && state_.since_best >= s_.patience; }

  std::string data_fingerprint() const {
    std::string bytes;
    for (const auto* part : {&train_, &valid_})
      for (const Example& e : *part)
        for (const auto* side : {&e.source, &e.target})
          bytes.append(reinterpret_cast<const char*>(side->data()), side->size() * sizeof(int32_t));
    return fingerprint(bytes);
  }

  std::runtime_error astray(int64_t update, double loss) const {
    return std::runtime_error("update " + std::to_string(update) + ": loss " + std::to_string(loss) +
                              ", gradient norm " + std::to_string(norm_) +
                              ": training has gone astray; try a new run with a lower --lr (" + folder_ +
                              " keeps the last checkpoint)");
  }

  // Says it on stdout at once.
  __attribute__((format(printf, 1, 2))) static void report(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    std::vprintf(format, arguments);
    va_end(arguments);
    if (std::fflush(stdout) != 0)
      throw std::runtime_error(std::string("stdout: cannot write: ") + std::strerror(errno));
  }

  // Leaves the mean of the last checkpoints as a model of its own, and says how good it is. The trained model is gone
  // then from memory.
  void average() {
    const std::vector<std::string> files = checkpoints_.kept();
    if (files.empty()) return;
    optim::ParameterAverage average;
    for (const std::string& file : files) average.add(load_run_file(file, run_.vocabulary).tensors);
    model().load_state_dict(average.mean());
    save_run_file(folder_ + "/average.safetensors", {model().state_dict(), {}, {}}, run_.vocabulary);
    const Validation v = validate();
    report("average of the last %zu checkpoints  VALID  loss %.4f  perplexity %.3f  BLEU %.2f  exact match %.1f%%\n",
           files.size(), v.loss, std::exp(v.loss), v.bleu.score, v.exact);
  }

  void update(const Batch& batch, Progress& progress) {
    const double began = seconds();
    const int64_t update = state_.update + 1;
    model().train();
    const Losses losses = forward_backward(batch);
    norm_ = optim::clip_grad_norm(model().parameters(), s_.clip_norm);
    const double loss = losses.smoothed / static_cast<double>(batch.target_out.size());
    // Ten times worse than to guess with closed eyes: it will not come back.
    if (!(loss < 10 * std::log(run_.vocabulary.size())) || !std::isfinite(norm_)) throw astray(update, loss);
    optimizer_.set_lr(schedule_(update));
    optimizer_.step();
    optimizer_.zero_grad();

    state_.update = update;
    state_.loss += losses.smoothed, state_.nll += losses.nll;
    state_.targets += static_cast<int64_t>(batch.target_out.size());
    tokens_ += batch.tokens, busy_ += seconds() - began;
    char status[64];
    std::snprintf(status, sizeof status, "loss %.3f", loss);
    progress.update(update, status);
  }

  void report_training(int64_t epoch) {
    const double targets = static_cast<double>(state_.targets), rate = static_cast<double>(tokens_) / busy_;
    const double loss = state_.loss / targets, perplexity = std::exp(state_.nll / targets);
    report("epoch %ld  update %ld  loss %.4f  perplexity %.2f  %.0f tokens/s  lr %.2e  gradient norm %.2f\n", epoch,
           state_.update, loss, perplexity, rate, optimizer_.lr(), norm_);
    log_.line("train,%ld,%ld,%.6f,%.4f,%.0f,%.8f,%.6f,,,%.1f", epoch, state_.update, loss, perplexity, rate,
              optimizer_.lr(), norm_, seconds() - start_);
    state_.loss = state_.nll = 0, state_.targets = tokens_ = 0, busy_ = 0;
  }

  void validate_and_keep_best(int64_t epoch) {
    const Validation v = validate();
    report("epoch %ld  update %ld  VALID  loss %.4f  perplexity %.3f  BLEU %.2f  exact match %.1f%%  after %.0f s\n",
           epoch, state_.update, v.loss, std::exp(v.loss), v.bleu.score, v.exact, seconds() - start_);
    for (size_t i = 0; i < v.samples.size(); ++i) print_translation(valid_pairs_[i], v.samples[i]);
    log_.line("valid,%ld,%ld,%.6f,%.4f,,,,%.2f,%.1f,%.1f", epoch, state_.update, v.loss, std::exp(v.loss), v.bleu.score,
              v.exact, seconds() - start_);
    std::string lambdas;
    for (const double lambda : v.lambdas) lambdas += format(",%.6f", lambda);
    if (lambda_log_) lambda_log_->line("%ld%s", state_.update, lambdas.c_str());
    write_file(folder_ + "/loss.svg", training_chart(s_.attention + " attention, " + s_.style + " style, " +
                                                         std::to_string(model().parameter_count()) + " parameters",
                                                     read_history(folder_)));
    const double score = s_.best_by == "bleu" ? -v.bleu.score : v.loss;
    ++state_.since_best;
    if (score < state_.best) {
      state_.best = score, state_.since_best = 0;
      save_run_file(folder_ + "/model.safetensors", {model().state_dict(), {}, {}}, run_.vocabulary);
    }
  }

  // Leaves the gradient of the mean loss per target token of the whole batch. The batch is shared out among the threads
  // in parts. Dropout depends on the update and the micro-batch, not on the past.
  Losses forward_backward(const Batch& batch) {
    const std::vector<Batch> pieces = micro_batches(batch, micro_batch_tokens);
    const int64_t count = static_cast<int64_t>(pieces.size());
    std::vector<Losses> losses(pieces.size());
    parallel_backward(batch_parts, [&](int64_t part) {
      for (int64_t i = part * count / batch_parts; i < (part + 1) * count / batch_parts; ++i) {
        manual_seed(s_.seed, dropout_stream(state_.update + 1, i));
        CrossEntropyOptions options;
        options.label_smoothing = static_cast<Scalar>(s_.label_smoothing);
        options.normalizer = static_cast<int64_t>(batch.target_out.size());
        options.nll = &losses[i].nll;
        const Batch& b = pieces[i];
        Tensor loss = model().loss(b.source, b.source_lengths, b.target_in, b.target_lengths, b.target_out, options);
        loss.backward();
        losses[i].smoothed = static_cast<double>(loss.item()) * static_cast<double>(options.normalizer);
      }
    });
    Losses sum;
    for (const Losses& piece : losses) sum.smoothed += piece.smoothed, sum.nll += piece.nll;
    return sum;
  }

  // Loss over all validation pairs; BLEU and exact matches of greedy translations of the first 200.
  Validation validate() {
    model().eval();
    Validation v;
    validation_loss(v);
    std::vector<std::string> sources, references;
    for (size_t i = 0; i < std::min<size_t>(200, valid_pairs_.size()); ++i) {
      sources.push_back(valid_pairs_[i].source);
      references.push_back(valid_pairs_[i].target);
    }
    std::vector<std::string> found = run_.translate(sources, {}, "validation");
    v.bleu = corpus_bleu(found, references);
    for (size_t i = 0; i < found.size(); ++i) v.exact += found[i] == references[i];
    v.exact *= 100 / static_cast<double>(found.size());
    found.resize(std::min<size_t>(3, found.size()));
    v.samples = found;
    return v;
  }

  // Without smoothing or dropout. The lambdas are those of the same passes.
  void validation_loss(Validation& v) {
    NoGrad no_grad;
    LambdaMeter lambdas(model());
    double nll = 0;
    int64_t targets = 0;
    for (const Batch& b : sorted_batches(valid_, micro_batch_tokens)) {
      double part = 0;
      CrossEntropyOptions options;
      options.nll = &part;
      model().loss(b.source, b.source_lengths, b.target_in, b.target_lengths, b.target_out, options);
      lambdas.add();
      nll += part;
      targets += static_cast<int64_t>(b.target_out.size());
    }
    v.loss = nll / static_cast<double>(targets);
    v.lambdas = lambdas.means();
    if (!std::isfinite(v.loss)) throw astray(state_.update, v.loss);
  }

  // A head's cross-attention in one of the first validation sentences.
  void draw_attention() {
    if (!lambda_log_) return;
    model().eval();
    const Example& example = *std::max_element(valid_.begin(), valid_.begin() + std::min<size_t>(50, valid_.size()),
                                               [](const Example& a, const Example& b) { return fit(a) < fit(b); });
    write_file(folder_ + "/attention.svg",
               attention_chart(most_decided_cross_attention(run_, example.source, example.target)));
  }
  // A sentence makes a good picture if it is neither short nor long.
  static int64_t fit(const Example& e) {
    const int64_t longer = static_cast<int64_t>(std::max(e.source.size(), e.target.size()));
    return -std::abs(longer - 14);
  }

  const Settings s_;
  const std::string folder_;
  RunLock lock_{nullptr, std::fclose};
  std::vector<Example> train_, valid_;
  std::vector<Pair> valid_pairs_;
  Translator run_;
  const int64_t updates_per_epoch_, total_;
  const optim::Schedule schedule_;
  optim::AdamW optimizer_;
  const Checkpoints checkpoints_;
  TrainingState state_;
  TrainLog log_;
  std::optional<TrainLog> lambda_log_;
  double start_ = 0, norm_ = 0;  // when training began; the gradient norm of the last update
  double busy_ = 0;              // seconds in updates, and tokens seen in them, since the last line of the log
  int64_t tokens_ = 0;
};

}  // namespace

void train(Settings settings, const std::string& folder) {
  settings.resolve();
  Trainer(settings, folder, false, false).run();
}

void resume(const nlohmann::json& given, const std::string& folder) {
  const std::string path = folder + "/config.json";
  if (!std::filesystem::exists(path)) throw InputError(folder + ": holds no run to resume (there is no config.json)");
  const Settings before = load_run_settings(folder);
  Settings settings = before;
  settings.change(given, "the command line");
  settings.resolve();
  // The data's content is checked against the checkpoint's fingerprint, wherever it lies now.
  std::set<std::string> may_change{"train",     "valid",     "train_src", "train_tgt",
                                   "valid_src", "valid_tgt", "patience",  "log_every"};
  const bool end_may_change = settings.schedule != "cosine";
  if (end_may_change) may_change.insert({"max_epochs", "max_updates"});
  const nlohmann::json old_values = before, new_values = settings;
  std::string changed;
  for (const auto& [key, value] : new_values.items())
    if (value != old_values[key] && !may_change.contains(key))
      changed += (changed.empty() ? "" : ", ") + key + " from " + old_values[key].dump() + " to " + value.dump();
  const bool end_changes = settings.max_epochs != before.max_epochs || settings.max_updates != before.max_updates;
  if (!changed.empty())
    throw InputError(folder + ": --resume cannot change " + changed +
                     (end_changes && !end_may_change ? " (a cosine schedule is made for its last update; inverse-sqrt "
                                                       "can go on for longer)"
                                                     : ""));
  Trainer(settings, folder, true, end_changes).run();
}

}  // namespace translate
