#include "examples/translate/train.h"

#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <set>

#include "core/kernels/parallel.h"
#include "examples/translate/bleu.h"
#include "examples/translate/charts.h"
#include "examples/translate/checkpoint.h"
#include "examples/translate/data.h"
#include "examples/translate/history.h"
#include "examples/translate/progress.h"
#include "examples/translate/run.h"
#include "examples/translate/train_log.h"
#include "optim/average.h"
#include "optim/clip.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"

namespace translate {

using namespace difftensor;

namespace {

// A few hundred rows of activations fit in a core's cache from one op to the next.
constexpr int64_t micro_batch_tokens = 1024;

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Set by SIGINT and SIGTERM. The next one kills.
volatile std::sig_atomic_t stop_signal = 0;

// Within its scope, the first SIGINT or SIGTERM only sets stop_signal.
class CatchSignals {
 public:
  CatchSignals() {
    stop_signal = 0;
    struct sigaction action {};
    action.sa_handler = [](int signal) { stop_signal = signal; };
    action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
    sigaction(SIGINT, &action, &before_[0]);
    sigaction(SIGTERM, &action, &before_[1]);
  }
  ~CatchSignals() {
    sigaction(SIGINT, &before_[0], nullptr);
    sigaction(SIGTERM, &before_[1], nullptr);
  }
  CatchSignals(const CatchSignals&) = delete;
  CatchSignals& operator=(const CatchSignals&) = delete;

 private:
  struct sigaction before_[2];
};

class Trainer {
 public:
  Trainer(const Settings& settings, const std::string& folder, bool resume)
      : s_(settings),
        folder_(folder),
        run_(resume ? reopen() : prepare()),
        optimizer_({{model().parameters(), s_.weight_decay}}, s_.lr, {s_.beta1, s_.beta2, s_.eps}),
        checkpoints_(folder, run_.vocabulary, data_fingerprint(), s_.average) {
    std::printf(
        "%zu pairs to train on, %zu to validate on; %d subwords; %s attention, %s style, %ld parameters; %d threads\n",
        train_.size(), valid_.size(), run_.vocabulary.size(), s_.attention.c_str(), s_.style.c_str(),
        model().parameter_count(), omp_get_max_threads());
    if (resume) {
      state_ = checkpoints_.load(model(), optimizer_);
      std::printf("going on after update %ld\n", state_.update);
    } else {
      checkpoints_.save(state_, model(), optimizer_);
    }
    // Now that the last checkpoint has turned out to fit. The config comes last: a folder with one can be resumed.
    write_file(folder_ + "/config.json", nlohmann::json(s_).dump(2) + "\n");
  }

  void run() {
    const CatchSignals catch_signals;
    TrainLog log(folder_ + "/train_log.csv",
                 "kind,epoch,update,loss,perplexity,tokens_per_second,lr,gradient_norm,bleu,exact,seconds",
                 state_.update);
    TrainLog lambdas(folder_ + "/lambda.csv", lambda_header(), state_.update);
    double earlier_seconds = 0;
    if (!log.earlier().empty()) earlier_seconds = std::stod(log.earlier().back().back());
    const int64_t updates_per_epoch = static_cast<int64_t>(make_batches(train_, s_.batch_tokens, nullptr).size());
    const int64_t total = total_updates(updates_per_epoch);
    const optim::Schedule schedule = s_.learning_rate(total);
    Progress progress(total, state_.update);
    const double start = seconds() - earlier_seconds;
    double busy = 0;  // seconds, and tokens seen in them, since the last line of the log
    int64_t tokens = 0;

    while (state_.update < total && !patience_is_over()) {
      const int64_t epoch = state_.update / updates_per_epoch + 1;
      const std::vector<Batch> batches = epoch_batches(epoch);
      model().train();
      for (bool epoch_ends = false; !epoch_ends;) {
        const Batch& batch = batches[static_cast<size_t>(state_.update % updates_per_epoch)];
        const double began = seconds(), n = static_cast<double>(batch.target_out.size());
        const int64_t update = state_.update + 1;
        manual_seed(s_.seed, dropout_stream(update));  // dropout depends on the update, not on the past
        const Losses losses = forward_backward(batch);
        const double norm = optim::clip_grad_norm(model().parameters(), s_.clip_norm);
        // Ten times worse than to guess with closed eyes: it will not come back.
        if (!(losses.smoothed / n < 10 * std::log(run_.vocabulary.size())) || !std::isfinite(norm))
          throw astray(update, losses.smoothed / n, norm);
        optimizer_.set_lr(schedule(update));
        optimizer_.step();
        optimizer_.zero_grad();

        state_.update = update;
        state_.loss += losses.smoothed, state_.nll += losses.nll;
        state_.targets += static_cast<int64_t>(batch.target_out.size());
        tokens += batch.tokens, busy += seconds() - began;
        char status[64];
        std::snprintf(status, sizeof status, "loss %.3f", losses.smoothed / n);
        progress.update(update, status);
        if (update % s_.log_every == 0 || update == total) {
          const double count = static_cast<double>(state_.targets), rate = static_cast<double>(tokens) / busy;
          const double loss = state_.loss / count, perplexity = std::exp(state_.nll / count);
          progress.clear();
          report("epoch %ld  update %ld  loss %.4f  perplexity %.2f  %.0f tokens/s  lr %.2e  gradient norm %.2f\n",
                 epoch, update, loss, perplexity, rate, optimizer_.lr(), norm);
          log.line("train,%ld,%ld,%.6f,%.4f,%.0f,%.8f,%.6f,,,%.1f\n", epoch, update, loss, perplexity, rate,
                   optimizer_.lr(), norm, seconds() - start);
          state_.loss = state_.nll = 0, state_.targets = tokens = 0, busy = 0;
        }

        epoch_ends = update % updates_per_epoch == 0 || update == total;
        if (epoch_ends) {
          progress.clear();
          const Validation v = validate();
          if (!std::isfinite(v.loss)) throw astray(update, v.loss, norm);
          report_validation("epoch " + std::to_string(epoch) + "  update " + std::to_string(update), v,
                            seconds() - start);
          log.line("valid,%ld,%ld,%.6f,%.4f,,,,%.2f,%.1f,%.1f\n", epoch, update, v.loss, std::exp(v.loss), v.bleu.score,
                   v.exact, seconds() - start);
          lambdas.line("%ld%s\n", update, v.lambdas.c_str());
          write_file(folder_ + "/loss.svg",
                     training_chart(s_.attention + " attention, " + s_.style + " style, " +
                                        std::to_string(model().parameter_count()) + " parameters",
                                    read_history(folder_)));
          const double score = s_.best_by == "bleu" ? -v.bleu.score : v.loss;
          ++state_.since_best;
          if (score < state_.best) {
            state_.best = score, state_.since_best = 0;
            save_run_file(folder_ + "/model.safetensors", {model().state_dict(), {}, {}}, run_.vocabulary);
          }
        }
        if (update == total || (s_.save_every ? update % s_.save_every == 0 : epoch_ends))
          checkpoints_.save_and_keep(state_, model(), optimizer_);
        else if (stop_signal || epoch_ends)
          checkpoints_.save(state_, model(), optimizer_);
        if (stop_signal) {
          progress.clear();
          report("stopped by %s after update %ld; go on with: translate train --run %s --resume\n",
                 stop_signal == SIGINT ? "SIGINT" : "SIGTERM", update, folder_.c_str());
          throw Interrupted{stop_signal};
        }
      }
    }
    if (state_.update < total)
      report("no better for %ld validations: training ends before update %ld\n", state_.since_best, total);
    draw_attention();
    average();
    report("trained for %.1f s, validation and its translations included; the run is in %s\n", seconds() - start,
           folder_.c_str());
  }

 private:
  struct Losses {
    double smoothed = 0, nll = 0;  // summed over target tokens
  };
  struct Validation {
    double loss;
    Bleu bleu;
    double exact;  // per cent
    std::vector<std::string> samples;
    std::string lambdas;  // ",0.2,0.35": the mean of each attention's over all validation tokens
  };

  models::Transformer& model() { return *run_.model; }

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
    const std::vector<Batch> batches = make_batches(train_, s_.batch_tokens, nullptr);
    valid_.clear(), valid_pairs_.clear();
    for (const size_t i : batches[batches.size() / 2].examples) {
      valid_.push_back(train_[i]);
      valid_pairs_.push_back(pairs[i]);
    }
  }

  // An epoch's batches depend on its number, not on the past.
  std::vector<Batch> epoch_batches(int64_t epoch) const {
    Random random(s_.seed, shuffle_stream(epoch));
    std::vector<Batch> batches = make_batches(train_, s_.batch_tokens, &random);
    if (s_.overfit_one_batch)
      std::fill(batches.begin(), batches.end(), make_batches(valid_, s_.batch_tokens, nullptr).at(0));
    return batches;
  }

  int64_t total_updates(int64_t updates_per_epoch) const {
    if (s_.max_epochs == 0) return s_.max_updates;
    const int64_t updates = s_.max_epochs * updates_per_epoch;
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

  std::runtime_error astray(int64_t update, double loss, double norm) const {
    return std::runtime_error("update " + std::to_string(update) + ": loss " + std::to_string(loss) +
                              ", gradient norm " + std::to_string(norm) +
                              ": training has gone astray; try a lower --lr (the last checkpoint is in " + folder_ +
                              ")");
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

  void report_validation(const std::string& when, const Validation& v, double after) const {
    report("%s  VALID  loss %.4f  perplexity %.3f  BLEU %.2f  exact match %.1f%%  after %.0f s\n", when.c_str(), v.loss,
           std::exp(v.loss), v.bleu.score, v.exact, after);
    for (size_t i = 0; i < v.samples.size(); ++i) print_translation(valid_pairs_[i], v.samples[i]);
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

  // Every attention that has a lambda, by the name of its parameters.
  std::vector<std::pair<std::string, nn::Attention*>> differential_attentions() {
    std::vector<std::pair<std::string, nn::Attention*>> all;
    if (model().config.attention == models::AttentionKind::softmax) return all;
    const auto add = [&](const std::string& stack, const models::TransformerStack& layers) {
      for (size_t i = 0; i < layers.layers().size(); ++i) {
        const std::string layer = stack + ".layers." + std::to_string(i);
        all.emplace_back(layer + ".self_attn", layers.layers()[i]->self_attn.get());
        if (auto& cross = layers.layers()[i]->cross_attn) all.emplace_back(layer + ".cross_attn", cross.get());
      }
    };
    add("encoder", model().encoder());
    add("decoder", model().decoder());
    return all;
  }

  std::string lambda_header() {
    std::string header = "update";
    for (auto& [name, attention] : differential_attentions()) header += "," + name;
    return header;
  }

  // Leaves the gradient of the mean loss per target token of the whole batch.
  Losses forward_backward(const Batch& batch) {
    Losses sum;
    for (const Batch& part : micro_batches(batch, micro_batch_tokens)) {
      double nll = 0;
      CrossEntropyOptions options;
      options.label_smoothing = static_cast<Scalar>(s_.label_smoothing);
      options.normalizer = static_cast<int64_t>(batch.target_out.size());
      options.nll = &nll;
      Tensor loss =
          model().loss(part.source, part.source_lengths, part.target_in, part.target_lengths, part.target_out, options);
      loss.backward();
      sum.smoothed += static_cast<double>(loss.item()) * static_cast<double>(options.normalizer);
      sum.nll += nll;
    }
    return sum;
  }

  // Loss without smoothing or dropout over all validation pairs, and BLEU and exact matches of greedy translations of
  // the first 200.
  Validation validate() {
    NoGrad no_grad;
    model().eval();
    double nll = 0;
    int64_t targets = 0;
    const auto attentions = differential_attentions();
    std::vector<nn::AttentionTrace> traces(attentions.size());
    std::vector<std::pair<double, int64_t>> lambdas(attentions.size());  // sum and count
    for (size_t i = 0; i < attentions.size(); ++i) attentions[i].second->trace = &traces[i];
    for (const Batch& batch : make_batches(valid_, micro_batch_tokens, nullptr)) {
      double part = 0;
      CrossEntropyOptions options;
      options.nll = &part;
      model().loss(batch.source, batch.source_lengths, batch.target_in, batch.target_lengths, batch.target_out,
                   options);
      nll += part;
      targets += static_cast<int64_t>(batch.target_out.size());
      for (size_t i = 0; i < traces.size(); ++i) {
        for (const Scalar lambda : traces[i].lambda.values()) lambdas[i].first += static_cast<double>(lambda);
        lambdas[i].second += traces[i].lambda.numel();
      }
    }
    std::string means;
    for (size_t i = 0; i < attentions.size(); ++i) {
      attentions[i].second->trace = nullptr;
      char mean[32];
      std::snprintf(mean, sizeof mean, ",%.6f", lambdas[i].first / static_cast<double>(lambdas[i].second));
      means += mean;
    }
    std::vector<std::string> sources, references;
    for (size_t i = 0; i < std::min<size_t>(200, valid_pairs_.size()); ++i) {
      sources.push_back(valid_pairs_[i].source);
      references.push_back(valid_pairs_[i].target);
    }
    std::vector<std::string> found = run_.translate(sources, {}, "validation");
    const Bleu bleu = corpus_bleu(found, references);
    double exact = 0;
    for (size_t i = 0; i < found.size(); ++i) exact += found[i] == references[i];
    exact *= 100 / static_cast<double>(found.size());
    found.resize(std::min<size_t>(3, found.size()));
    return {nll / static_cast<double>(targets), bleu, exact, found, means};
  }

  // The cross-attention of a validation sentence, in the layer and head that look most decidedly: where the largest
  // entry of a row of A1 - lambda A2 is largest on average.
  void draw_attention() {
    if (model().config.attention == models::AttentionKind::softmax) return;
    NoGrad no_grad;
    model().eval();
    const Example& example = *std::max_element(valid_.begin(), valid_.begin() + std::min<size_t>(50, valid_.size()),
                                               [](const Example& a, const Example& b) { return fit(a) < fit(b); });
    const std::vector<int32_t> target_in(example.target.begin(), example.target.end() - 1);
    std::vector<nn::AttentionTrace> traces(model().decoder().layers().size());
    for (size_t i = 0; i < traces.size(); ++i) model().decoder().layers()[i]->cross_attn->trace = &traces[i];
    model()(example.source, {static_cast<int64_t>(example.source.size())}, target_in,
            {static_cast<int64_t>(target_in.size())});
    for (auto& layer : model().decoder().layers()) layer->cross_attn->trace = nullptr;

    AttentionFigure figure;
    double most_decided = -1;
    for (size_t layer = 0; layer < traces.size(); ++layer) {
      const nn::AttentionTrace& t = traces[layer];
      const int h = t.layout.heads;
      const int64_t T = t.q.dim(0), S = t.k.dim(0), key_heads = t.k.dim(1) / (t.q.dim(1) / (2 * h));
      const Tensor Q = split_heads(t.q, {0, T}, 2 * h), K = split_heads(t.k, {0, S}, key_heads);
      for (int head = 0; head < h; ++head) {
        auto map = [&](int which) {
          const int key = key_heads == h ? head : 2 * head + which;
          return attention_map(slice(Q, 0, 2 * head + which, 2 * head + which + 1), slice(K, 0, key, key + 1), false);
        };
        const Tensor a1 = reshape(map(0), {T, S}), a2 = reshape(map(1), {T, S});
        const Tensor lambda = t.lambda.numel() == 1 ? t.lambda : slice(t.lambda, 1, head, head + 1);  // () or (T, 1)
        const Tensor difference = a1 - lambda * a2;
        const double decided = mean(max(difference, {1})).item();
        if (decided <= most_decided) continue;
        most_decided = decided;
        figure.lambda = mean(lambda).item();
        figure.title = "cross-attention, decoder layer " + std::to_string(layer + 1) + ", head " +
                       std::to_string(head + 1) + (lambda.numel() == 1 ? "" : " (λ is a mean: each token has its own)");
        figure.a1 = a1.values(), figure.a2 = a2.values(), figure.difference = difference.values();
      }
    }
    for (size_t i = 1; i < example.target.size(); ++i)
      figure.queries.push_back(run_.vocabulary.piece(example.target[i]));
    for (int32_t id : example.source) figure.keys.push_back(run_.vocabulary.piece(id));
    write_file(folder_ + "/attention.svg", attention_chart(figure));
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
  optim::AdamW optimizer_;
  const Checkpoints checkpoints_;
  TrainingState state_;
};

}  // namespace

void train(Settings settings, const std::string& folder) {
  settings.resolve();
  Trainer(settings, folder, false).run();
}

void resume(const nlohmann::json& given, const std::string& folder) {
  const std::string path = folder + "/config.json";
  if (!std::filesystem::exists(path)) throw InputError(folder + ": holds no run to resume (there is no config.json)");
  Settings before = Settings::read(path);
  before.resolve();
  Settings settings = before;
  settings.change(given, "the command line");
  settings.resolve();
  // The data's content is checked against the checkpoint's fingerprint, wherever it lies now.
  std::set<std::string> may_change{"train",     "valid",     "train_src", "train_tgt",
                                   "valid_src", "valid_tgt", "patience",  "log_every"};
  if (settings.schedule != "cosine") may_change.insert({"max_epochs", "max_updates"});  // cosine falls to 0 at the end
  const nlohmann::json old_values = before, new_values = settings;
  std::string changed;
  for (const auto& [key, value] : new_values.items())
    if (value != old_values[key] && !may_change.contains(key))
      changed += (changed.empty() ? "" : ", ") + key + " from " + old_values[key].dump() + " to " + value.dump();
  if (!changed.empty()) throw InputError(folder + ": --resume cannot change " + changed);
  Trainer(settings, folder, true).run();
}

}  // namespace translate
