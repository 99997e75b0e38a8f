#include "examples/training/report.h"

#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "core/files.h"
#include "examples/text/files.h"
#include "examples/training/charts.h"
#include "examples/training/history.h"
#include "examples/training/ranks.h"

namespace training {

using text::format;

namespace {

std::vector<std::string> log_columns(const Task& task) {
  std::vector<std::string> columns{"kind", "epoch",        "update", "loss", "perplexity", "tokens_per_second",
                                   "lr",   "gradient_norm"};
  for (const Figure& figure : task.figures()) columns.push_back(figure.key);
  columns.push_back("seconds");
  return columns;
}

std::vector<std::string> lambda_columns(const Task& task) {
  std::vector<std::string> columns = task.lambda_names();
  columns.insert(columns.begin(), "update");
  return columns;
}

}  // namespace

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

void say(const char* pattern, ...) {
  if (rank() != 0) return;
  va_list arguments;
  va_start(arguments, pattern);
  const std::string text = text::vformat(pattern, arguments);
  va_end(arguments);
  say_text(text);
}

void say_text(std::string_view text) {
  // Not through stdio, which takes a signal for an error.
  if (rank() == 0) difftensor::write_all(STDOUT_FILENO, text, "stdout: cannot write");
}

std::string figure_name(const std::string& key) {
  return key == "bleu" ? "BLEU" : key == "chrf" ? "chrF" : key == "exact" ? "exact match" : key;
}

Report::Report(const Task& task, const std::string& folder, int64_t update)
    : task_(task), folder_(folder), start_(now()) {
  if (rank() != 0) return;
  if (update > 0 && !std::filesystem::exists(folder + "/train_log.csv"))
    say("%s/train_log.csv is gone: it begins anew, and so do the charts\n", folder.c_str());
  log_.emplace(folder + "/train_log.csv", log_columns(task), update);
  if (!log_->rows().empty()) start_ -= std::strtod(log_->rows().back().at("seconds").c_str(), nullptr);
  if (!task.lambda_names().empty()) lambda_log_.emplace(folder + "/lambda.csv", lambda_columns(task), update);
}

void Report::sync() {
  if (log_) log_->sync();
  if (lambda_log_) lambda_log_->sync();
}

void Report::close() {
  if (log_) log_->close();
  if (lambda_log_) lambda_log_->close();
}

double Report::seconds() const { return now() - start_; }

void Report::training(int64_t epoch, const TrainingState& state, double tokens_per_second, double lr,
                      double gradient_norm) {
  if (!log_) return;
  const double targets = static_cast<double>(state.targets);
  const double loss = state.loss / targets, perplexity = std::exp(state.nll / targets);
  say("epoch %ld  update %ld  loss %.4f  perplexity %.2f  %.0f tokens/s  lr %.2e  gradient norm %.2f\n", epoch,
      state.update, loss, perplexity, tokens_per_second, lr, gradient_norm);
  log_->add({{"kind", "train"},
             {"epoch", std::to_string(epoch)},
             {"update", std::to_string(state.update)},
             {"loss", format("%.6f", loss)},
             {"perplexity", format("%.4f", perplexity)},
             {"tokens_per_second", format("%.0f", tokens_per_second)},
             {"lr", format("%.8f", lr)},
             {"gradient_norm", format("%.6f", gradient_norm)},
             {"seconds", format("%.1f", seconds())}});
}

std::string Report::summary(const Validation& v) {
  std::string text = format("loss %.4f  perplexity %.3f", v.loss, std::exp(v.loss));
  for (const Figure& f : v.figures)
    text += format("  %s %.*f%s", figure_name(f.key).c_str(), f.decimals, f.value, f.unit);
  return text;
}

void Report::validation(int64_t epoch, int64_t update, const Validation& v) {
  if (!log_) return;
  say("epoch %ld  update %ld  VALID  %s  after %.0f s\n", epoch, update, summary(v).c_str(), seconds());
  say_text(v.samples);
  CsvRow row{{"kind", "valid"},
             {"epoch", std::to_string(epoch)},
             {"update", std::to_string(update)},
             {"loss", format("%.6f", v.loss)},
             {"perplexity", format("%.4f", std::exp(v.loss))},
             {"seconds", format("%.1f", seconds())}};
  for (const Figure& f : v.figures) row[f.key] = format("%.*f", f.decimals, f.value);
  log_->add(row);
  if (lambda_log_) {
    CsvRow lambdas{{"update", std::to_string(update)}};
    const std::vector<std::string> names = task_.lambda_names();
    for (size_t i = 0; i < names.size(); ++i) lambdas[names[i]] = format("%.6f", v.lambdas.at(i));
    lambda_log_->add(lambdas);
  }
  text::write_file(folder_ + "/loss.svg", training_chart(task_.title(), read_history(folder_)));
}

}  // namespace training
