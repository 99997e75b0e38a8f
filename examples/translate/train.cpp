#include "examples/translate/train.h"

#include <chrono>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <limits>
#include <numeric>

#include "core/kernels/parallel.h"
#include "examples/translate/bleu.h"
#include "examples/translate/charts.h"
#include "examples/translate/data.h"
#include "examples/translate/history.h"
#include "examples/translate/progress.h"
#include "examples/translate/run.h"
#include "optim/clip.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"

namespace translate {

using namespace difftensor;

namespace {

// A few hundred rows of activations fit in a core's cache from one op to the next.
constexpr int64_t micro_batch_tokens = 1024;

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// train_log.csv, and the points of the loss chart.
class Log {
 public:
  explicit Log(const std::string& path) : file_(std::fopen(path.c_str(), "w")) {
    if (!file_) throw InputError(path + ": cannot be written");
    std::fprintf(file_, "kind,epoch,update,loss,perplexity,tokens_per_second,lr,gradient_norm,bleu,exact,seconds\n");
  }
  ~Log() { std::fclose(file_); }
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;
  __attribute__((format(printf, 2, 3))) void line(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    std::vfprintf(file_, format, arguments);
    va_end(arguments);
    std::fflush(file_);
  }

 private:
  std::FILE* file_;
};

class Trainer {
 public:
  Trainer(const Settings& settings, const std::string& folder) : s_(settings), folder_(folder), run_(prepare()) {}

  void run() {
    optim::AdamW optimizer({{model().parameters(), s_.weight_decay}}, s_.lr, {s_.beta1, s_.beta2, s_.eps});
    Log log(folder_ + "/train_log.csv");
    const int64_t updates_per_epoch = static_cast<int64_t>(make_batches(train_, s_.batch_tokens, nullptr).size());
    const int64_t total = s_.max_updates ? std::min(s_.max_updates, s_.max_epochs * updates_per_epoch)
                                         : s_.max_epochs * updates_per_epoch;
    const optim::Schedule schedule = s_.learning_rate(total);
    Progress progress(total);
    const double start = seconds();

    int64_t update = 0;
    for (int64_t epoch = 1; update < total; ++epoch) {
      Random shuffle(s_.seed, static_cast<uint64_t>(epoch));
      double loss = 0, nll = 0, since = seconds();  // since the last report
      int64_t targets = 0, tokens = 0;
      model().train();
      for (const Batch& batch : make_batches(train_, s_.batch_tokens, &shuffle)) {
        if (update == total) break;
        ++update;
        manual_seed(s_.seed, static_cast<uint64_t>(update));  // dropout depends on the update, not on the past
        const Losses batch_loss = forward_backward(batch);
        const double norm = optim::clip_grad_norm(model().parameters(), s_.clip_norm);
        const double n = static_cast<double>(batch.target_out.size());
        if (!std::isfinite(batch_loss.smoothed) || !std::isfinite(norm))
          throw std::runtime_error("update " + std::to_string(update) + ": loss " +
                                   std::to_string(batch_loss.smoothed / n) + ", gradient norm " + std::to_string(norm) +
                                   ": training has gone astray; try a lower --lr");
        optimizer.set_lr(schedule(update));
        optimizer.step();
        optimizer.zero_grad();

        loss += batch_loss.smoothed, nll += batch_loss.nll;
        targets += static_cast<int64_t>(batch.target_out.size()), tokens += batch.tokens;
        char status[64];
        std::snprintf(status, sizeof status, "loss %.3f", batch_loss.smoothed / n);
        progress.update(update, status);
        if (update % s_.log_every == 0 || update == total) {
          const double rate = static_cast<double>(tokens) / (seconds() - since), count = static_cast<double>(targets);
          progress.clear();
          std::printf("epoch %ld  update %ld  loss %.4f  perplexity %.2f  %.0f tokens/s  lr %.2e  gradient norm %.2f\n",
                      epoch, update, loss / count, std::exp(nll / count), rate, optimizer.lr(), norm);
          std::fflush(stdout);
          log.line("train,%ld,%ld,%.6f,%.4f,%.0f,%.8f,%.6f,,,%.1f\n", epoch, update, loss / count,
                   std::exp(nll / count), rate, optimizer.lr(), norm, seconds() - start);
          loss = nll = 0, targets = tokens = 0, since = seconds();
        }
      }
      progress.clear();
      const Validation v = validate();
      std::printf(
          "epoch %ld  update %ld  VALID  loss %.4f  perplexity %.3f  BLEU %.2f  exact match %.1f%%  after %.0f s\n",
          epoch, update, v.loss, std::exp(v.loss), v.bleu.score, v.exact, seconds() - start);
      for (size_t i = 0; i < v.samples.size(); ++i) print_translation(valid_pairs_[i], v.samples[i]);
      std::fflush(stdout);
      log.line("valid,%ld,%ld,%.6f,%.4f,,,,%.2f,%.1f,%.1f\n", epoch, update, v.loss, std::exp(v.loss), v.bleu.score,
               v.exact, seconds() - start);
      if (v.loss < best_) {
        best_ = v.loss;
        save_model(folder_, model());
      }
      write_file(folder_ + "/loss.svg", training_chart(folder_, read_history(folder_)));
    }
    draw_attention();
    std::printf("trained for %.1f s, validation and its translations included; the run is in %s\n", seconds() - start,
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
    Vocabulary vocabulary = Vocabulary::train(sentences, s_.vocab_size);
    const bool task = !s_.task.empty();
    train_ = encode(splits.train, vocabulary, s_.max_length,
                    task               ? s_.task
                    : s_.train.empty() ? s_.train_src
                                       : s_.train);
    valid_ = encode(splits.valid, vocabulary, s_.max_length,
                    s_.valid.empty() ? s_.valid_src.empty() ? "validation" : s_.valid_src : s_.valid);
    valid_pairs_ = std::move(splits.valid);
    Random random(s_.seed);
    auto model = std::make_unique<models::Transformer>(s_.model(vocabulary.size()), random);
    create_run_folder(folder_);
    write_file(folder_ + "/config.json", nlohmann::json(s_).dump(2) + "\n");
    write_file(folder_ + "/spm.model", vocabulary.model());
    std::printf(
        "%zu pairs to train on, %zu to validate on; %d subwords; %s attention, %s style, %ld parameters; %d threads\n",
        train_.size(), valid_.size(), vocabulary.size(), s_.attention.c_str(), s_.style.c_str(),
        model->parameter_count(), omp_get_max_threads());
    return {s_, std::move(vocabulary), std::move(model)};
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
    for (const Batch& batch : make_batches(valid_, micro_batch_tokens, nullptr)) {
      double part = 0;
      CrossEntropyOptions options;
      options.nll = &part;
      model().loss(batch.source, batch.source_lengths, batch.target_in, batch.target_lengths, batch.target_out,
                   options);
      nll += part;
      targets += static_cast<int64_t>(batch.target_out.size());
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
    return {nll / static_cast<double>(targets), bleu, exact, found};
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
  std::vector<Example> train_, valid_;
  std::vector<Pair> valid_pairs_;
  Translator run_;
  double best_ = std::numeric_limits<double>::infinity();
};

}  // namespace

void train(Settings settings, const std::string& folder) {
  settings.resolve();
  Trainer(settings, folder).run();
}

}  // namespace translate
