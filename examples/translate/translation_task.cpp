#include "examples/translate/translation_task.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "examples/training/attention_chart.h"
#include "examples/training/lambdas.h"
#include "examples/training/ranks.h"
#include "examples/translate/bleu.h"
#include "examples/translate/chrf.h"
#include "examples/translate/corpus_progress.h"
#include "examples/translate/data.h"
#include "examples/translate/inspect.h"

namespace translate {

using namespace difftensor;

namespace {

// Tokens that are computed at once: enough to fill a matrix product, few enough to keep activations near.
constexpr int64_t piece_tokens = 256;
// Validation pairs that are translated.
constexpr size_t translated_pairs = 200;

// Every differential attention of the model, with its name.
NamedAttentions differential_attentions(const models::Transformer& model) {
  if (model.config.attention == models::AttentionKind::softmax) return {};
  auto found = attentions_of(model.encoder(), "encoder."), decoder = attentions_of(model.decoder(), "decoder.");
  found.insert(found.end(), decoder.begin(), decoder.end());
  return found;
}

Translator make_translator(const Settings& s, const std::string& folder, const Splits& pairs) {
  Vocabulary vocabulary = folder.empty() ? learn_vocabulary(pairs.train.sources(), pairs.train.targets(), s.vocab_size)
                                         : Vocabulary::load(folder + "/spm.model");
  Random random(s.loop().seed);
  auto model = std::make_unique<models::Transformer>(s.model(vocabulary.size()), random);
  return {s, std::move(vocabulary), std::move(model)};
}

}  // namespace

std::unique_ptr<Task> Settings::make_task(const std::string& folder) const {
  return std::make_unique<TranslationTask>(*this, folder);
}

TranslationTask::TranslationTask(const Settings& settings, const std::string& folder)
    : s_(settings),
      pairs_(load_pairs(s_, show_reading())),
      translator_(make_translator(s_, folder, pairs_)),
      train_(encode(pairs_.train, translator_.vocabulary, s_.max_length, train_files(s_), lost_)),
      valid_(encode(pairs_.valid, translator_.vocabulary, s_.max_length, valid_files(s_), lost_)) {
  const std::vector<Selection> sorted = sorted_batches(train_, s_.batch_tokens);
  updates_per_epoch_ = static_cast<int64_t>(sorted.size());
  if (s_.overfit_one_batch) {
    // Validates on what is trained on: a batch of sentences of middling length.
    valid_ = {}, pairs_.valid = {};
    for (const size_t i : sorted[sorted.size() / 2]) {
      valid_.add(train_[i].source, train_[i].target);
      pairs_.valid.add(pairs_.train[i]);
    }
  }
  pairs_.train = {};
}

std::string TranslationTask::data_fingerprint() const {
  const auto bytes = [](const Examples& examples) {
    const auto ids = examples.ids();
    return std::string_view(reinterpret_cast<const char*>(ids.data()), ids.size_bytes());
  };
  return fingerprint(bytes(train_), bytes(valid_));
}

std::string TranslationTask::title() const {
  return s_.attention.value + " attention, " + s_.style.value + " style, " +
         std::to_string(translator_.model->parameter_count()) + " parameters";
}

std::string TranslationTask::summary() const {
  std::string lines = format("%zu pairs to train on, %zu to validate on; %d subwords; %s; %d threads\n", train_.size(),
                             valid_.size(), translator_.vocabulary.size(), title().c_str(), omp_get_max_threads());
  if (valid_.size() > translated_pairs)
    lines += format("each validation translates the first %zu of its pairs\n", translated_pairs);
  int64_t longer = 0;
  for (size_t i = 0; i < train_.size(); ++i)
    longer += static_cast<int64_t>(std::max(train_[i].source.size(), train_[i].target.size())) > s_.batch_tokens;
  if (longer > 0) lines += format("%ld pairs are longer than --batch-tokens: each is an update of its own\n", longer);
  models::DecodeOptions decoding;
  decoding.max_length_factor = s_.max_length_factor;
  if (const int64_t cut = targets_out_of_reach(train_, decoding))
    lines += format(
        "%ld of their targets are longer than %g times the source and %ld tokens, where the model's translations are "
        "cut off: --max-length-factor\n",
        cut, decoding.max_length_factor, decoding.max_length_extra);
  for (const Finding& finding : {lost_.unknown, lost_.changed})
    if (finding.count > 0) lines += format("%ld  %s\n", finding.count, describe(finding).c_str());
  return lines;
}

double TranslationTask::guessing_loss() const { return std::log(translator_.vocabulary.size()); }

void TranslationTask::write_files(const std::string& folder) const {
  write_file(folder + "/spm.model", translator_.vocabulary.model());
}

// --- Updates ------------------------------------------------------------------------------------------------------

void TranslationTask::begin_epoch(int64_t epoch) {
  Random random(s_.loop().seed, shuffle_stream(epoch));
  batches_ = shuffled_batches(train_, updates_per_epoch_, random);
  if (s_.overfit_one_batch) std::fill(batches_.begin(), batches_.end(), sorted_batches(valid_, s_.batch_tokens).at(0));
  epoch_ = epoch;
}

Update TranslationTask::begin_update(int64_t update) {
  const int64_t epoch = (update - 1) / updates_per_epoch_ + 1;
  if (epoch != epoch_) begin_epoch(epoch);
  const Examples& learned = s_.overfit_one_batch ? valid_ : train_;
  const Batch batch = make_batch(learned, batches_[static_cast<size_t>((update - 1) % updates_per_epoch_)]);
  pieces_ = micro_batches(batch, piece_tokens);
  targets_ = static_cast<int64_t>(batch.target_out.size());
  return {static_cast<int64_t>(pieces_.size()), targets_, batch.tokens};
}

PieceLoss TranslationTask::piece_loss(int64_t piece) {
  const Batch& b = pieces_[piece];
  PieceLoss result;
  CrossEntropyOptions options;
  options.label_smoothing = static_cast<Scalar>(s_.label_smoothing);
  options.normalizer = targets_;
  options.nll = &result.nll;
  result.loss =
      translator_.model->loss(b.source, b.source_lengths, b.target_in, b.target_lengths, b.target_out, options);
  return result;
}

// --- Validation ---------------------------------------------------------------------------------------------------

// BLEU compares runs of four words, so it says nothing of shorter texts; and whole sentences are rarely translated
// exactly as their references.
std::vector<Figure> TranslationTask::figures() const {
  const Figure bleu{"bleu"}, chrf{"chrf"}, exact{"exact", 0, 1, "%"};
  bool one_answer = true;
  for (size_t i = 0; i < pairs_.valid.size() && one_answer; ++i)
    one_answer = !s_.task.is_default() || !has_4gram(pairs_.valid.targets().text(i));
  std::vector<Figure> figures = one_answer ? std::vector{exact, chrf} : std::vector{bleu, chrf};
  const Figure& other = one_answer ? bleu : exact;  // if somebody asks for it
  if (s_.loop().best_by == other.key.c_str()) figures.push_back(other);
  return figures;
}

std::vector<std::string> TranslationTask::lambda_names() const {
  return names_of(differential_attentions(*translator_.model));
}

Validation TranslationTask::validate() {
  Validation v;
  validate_loss(v);
  if (!std::isfinite(v.loss)) return v;  // the loop says so; such a model cannot translate
  std::vector<std::string> sources, references;
  for (size_t i = 0; i < std::min(translated_pairs, pairs_.valid.size()); ++i) {
    sources.push_back(pairs_.valid.sources().text(i));
    references.push_back(pairs_.valid.targets().text(i));
  }
  const std::vector<std::string> found = translate_shared(sources);
  v.figures = figures();
  for (Figure& f : v.figures) {
    if (f.key == "bleu") f.value = corpus_bleu(found, references).score;
    if (f.key == "chrf") f.value = corpus_chrf(found, references).score;
    if (f.key == "exact") f.value = percent_exact(found, references);
  }
  for (size_t i = 0; i < std::min<size_t>(3, found.size()); ++i)
    v.samples += translation_lines(pairs_.valid[i], found[i]);
  return v;
}

// Each rank translates some of the lines.
std::vector<std::string> TranslationTask::translate_shared(const std::vector<std::string>& lines) const {
  const auto [begin, end] = share(static_cast<int64_t>(lines.size()), rank(), ranks());
  std::string own;
  for (const std::string& text : translator_.translate({lines.begin() + begin, lines.begin() + end}, {}, "validation"))
    own += text + "\n";
  std::vector<std::string> all;
  for (const std::string& texts : all_gather(own)) {
    std::istringstream in(texts);
    for (std::string text; std::getline(in, text);) all.push_back(text);
  }
  return all;
}

// Without smoothing or dropout. The lambdas are those of the same passes.
void TranslationTask::validate_loss(Validation& v) const {
  const NoGrad no_grad;
  const models::Transformer& model = *translator_.model;
  const LambdaMeter lambdas(differential_attentions(model));
  const std::vector<Selection> batches = sorted_batches(valid_, piece_tokens);
  const std::vector<double> sums = share_sum(static_cast<int64_t>(batches.size()), [&](int64_t i) {
    const Batch b = make_batch(valid_, batches[i]);
    std::vector<double> loss{0, static_cast<double>(b.target_out.size())};
    CrossEntropyOptions options;
    options.nll = &loss[0];
    model.loss(b.source, b.source_lengths, b.target_in, b.target_lengths, b.target_out, options);
    lambdas.append_sums(loss);
    return loss;
  });
  v.loss = sums[0] / sums[1];
  v.lambdas = LambdaMeter::means(std::span(sums).subspan(2));
}

void TranslationTask::draw(const std::string& folder) {
  if (lambda_names().empty()) return;
  // A sentence makes a good picture if it is neither short nor long.
  const auto fit = [&](size_t i) {
    return -std::abs(static_cast<int64_t>(std::max(valid_[i].source.size(), valid_[i].target.size())) - 14);
  };
  size_t best = 0;
  for (size_t i = 1; i < std::min<size_t>(50, valid_.size()); ++i)
    if (fit(i) > fit(best)) best = i;
  const auto& [source, target] = valid_[best];
  write_file(folder + "/attention.svg",
             attention_chart(most_decided_cross_attention(translator_, {source.begin(), source.end()},
                                                          {target.begin(), target.end()})));
}

}  // namespace translate
