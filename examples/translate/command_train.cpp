// translate train: trains a model into a run folder.
#include <algorithm>
#include <memory>

#include "examples/translate/commands.h"
#include "examples/translate/train.h"

namespace translate {
namespace {

void add_options(CLI::App& app, Settings& s, std::string& run) {
  app.add_option("--run", run, "the run folder to make, or to resume")->required();
  app.add_option("--task", s.task, "a built-in task: numbers or reverse [numbers, without files]")->group("Data");
  app.add_option("--pairs", s.pairs, "pairs to draw for a task")->group("Data")->capture_default_str();
  app.add_option("--train", s.train, "pairs to train on: a TSV of source and target")->group("Data");
  app.add_option("--valid", s.valid, "pairs to validate on: a TSV [of those to train on every hundredth, 500 at most]")
      ->group("Data");
  app.add_option("--train-src", s.train_src, "or two files, one sentence a line: source")->group("Data");
  app.add_option("--train-tgt", s.train_tgt, "and target")->group("Data");
  app.add_option("--valid-src", s.valid_src, "the same to validate on")->group("Data");
  app.add_option("--valid-tgt", s.valid_tgt, "and target")->group("Data");
  app.add_option("--vocab-size", s.vocab_size, "subwords at most [160 for a task, 8000 for files]")
      ->check(whole_number(1))
      ->group("Data");
  app.add_option("--max-length", s.max_length, "tokens a sentence may have")->group("Data")->capture_default_str();
  app.add_option("--max-length-factor", s.max_length_factor,
                 "the model's translations are cut off after so many times their source's tokens, and 10")
      ->group("Data")
      ->capture_default_str();
  app.add_option("--preset", s.preset, "sizes: toy, tiny, small, base [toy for a task, tiny for files]")
      ->group("Model");
  app.add_option("--attention", s.attention, "softmax, diff or diff-v2")->group("Model")->capture_default_str();
  app.add_option("--style", s.style, "llama or vaswani")->group("Model")->capture_default_str();
  app.add_option("--d-model", s.d_model, "width, instead of the preset's")->group("Model");
  app.add_option("--heads", s.heads, "output heads, instead of the preset's")->group("Model");
  app.add_option("--ff", s.ff, "feed-forward width, instead of the preset's")->group("Model");
  app.add_option("--layers", s.layers, "layers of each stack, instead of the preset's")->group("Model");
  app.add_option("--dropout", s.dropout, "[0 for a task, 0.1 for files]")->group("Model");
  app.add_option("--batch-tokens", s.batch_tokens,
                 "tokens of an update, on the longer side, accumulated in pieces of 256 [1024 for a task, 2048 for "
                 "files]")
      ->check(whole_number(1))
      ->group("Training");
  app.add_option("--lr", s.lr, "peak learning rate")->group("Training")->capture_default_str();
  app.add_option("--warmup", s.warmup, "updates to reach it")->group("Training")->capture_default_str();
  app.add_option("--schedule", s.schedule, "from the peak on: cosine, to 0 after the last update, or inverse-sqrt")
      ->group("Training")
      ->capture_default_str();
  app.add_option("--label-smoothing", s.label_smoothing, "[0 for a task, 0.1 for files]")->group("Training");
  app.add_option("--weight-decay", s.weight_decay, "AdamW's, of every parameter")
      ->group("Training")
      ->capture_default_str();
  app.add_option("--beta1", s.beta1, "AdamW's: how long it remembers gradients")
      ->group("Training")
      ->capture_default_str();
  app.add_option("--beta2", s.beta2, "and their squares")->group("Training")->capture_default_str();
  app.add_option("--eps", s.eps, "AdamW's: keeps small gradients from making large steps")
      ->group("Training")
      ->capture_default_str();
  app.add_option("--clip-norm", s.clip_norm, "longest gradient")->group("Training")->capture_default_str();
  app.add_option("--max-epochs", s.max_epochs,
                 "passes over the pairs [2 for a task, 10 for files; no limit with --max-updates]")
      ->check(whole_number(1))
      ->group("Training");
  app.add_option("--max-updates", s.max_updates, "stop there")->check(whole_number(1))->group("Training");
  app.add_option("--seed", s.seed, "fixes everything that is random")
      ->check(whole_number(0))
      ->group("Training")
      ->capture_default_str();
  app.add_flag("--overfit-one-batch", s.overfit_one_batch, "train and validate on one batch: can the model learn?")
      ->group("Training");
  app.add_option("--best-by", s.best_by,
                 "what makes the best model: validation loss, or bleu of 200 greedy translations")
      ->group("Training")
      ->capture_default_str();
  app.add_option("--patience", s.patience, "end after so many validations that were no better [never]")
      ->group("Training");
  app.add_option("--average", s.average,
                 "keep so many checkpoints, the oldest going first, and average them at the end [none]")
      ->group("Training");
  app.add_option("--save-every", s.save_every,
                 "updates between checkpoints [an epoch]; validations come at the end of an epoch")
      ->group("Training");
  app.add_option("--log-every", s.log_every, "updates between reports")->group("Training")->capture_default_str();
}

// The settings that were given on the command line: every option of a setting's name that occurs.
nlohmann::json given_settings(const CLI::App& command, const Settings& parsed) {
  const nlohmann::json all = parsed;
  nlohmann::json given = nlohmann::json::object();
  for (const CLI::Option* option : command.get_options()) {
    std::string key = option->get_single_name();
    std::replace(key.begin(), key.end(), '-', '_');
    if (option->count() > 0 && all.contains(key)) given[key] = all[key];
  }
  return given;
}

}  // namespace

void add_train_command(CLI::App& app) {
  struct Arguments {
    Settings settings;
    std::string run, config;
    bool resume = false;
  };
  auto a = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("train", "train a model");
  add_options(*command, a->settings, a->run);
  CLI::Option* config = command->add_option("--config", a->config, "settings from a JSON file; flags win over it");
  command
      ->add_flag(
          "--resume", a->resume,
          "go on with a run that was interrupted; may be given anew: where its data lie, --patience, --log-every "
          "and, with inverse-sqrt, --max-epochs or --max-updates")
      ->excludes(config);
  add_threads_option(*command);
  command->footer(
      "Example:\n"
      "  translate train --run runs/mine --train pairs.tsv --attention diff-v2\n"
      "  translate train --run runs/mine --resume");
  command->callback([a, command] {
    const nlohmann::json given = given_settings(*command, a->settings);
    if (a->resume) return resume(given, a->run);
    Settings settings = a->config.empty() ? Settings() : Settings::read(a->config);
    settings.change(given, "the command line");
    train(settings, a->run);
  });
}

}  // namespace translate
