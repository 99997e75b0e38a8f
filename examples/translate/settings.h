#pragma once
// Every setting of a training run, in one place.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "models/transformer.h"
#include "optim/schedule.h"

namespace translate {

/// The defaults train the built-in task. A config file and the command line change them (command_train.cpp), and a run
/// folder keeps them all in its config.json. A key there is the name of a member, and a flag too: --batch-tokens.
struct Settings {
  // Data: a built-in task, or files of one sentence a line; a TSV has both sides. Without files for validation, every
  // hundredth pair (at most 500) is held out.
  std::string task;          // numbers | reverse; empty: numbers, or none with files
  int64_t pairs = 60000;     // drawn for a task
  std::string train, valid;  // TSV
  std::string train_src, train_tgt, valid_src, valid_tgt;
  int vocab_size = 0;              // subwords at most; 0: 160 for a task, 8000 for files
  int64_t max_length = 256;        // tokens of a sentence; a longer one is an error
  double max_length_factor = 1.5;  // a translation is cut off after so many times its source's tokens, and 10

  // Model. A preset sets the sizes: toy (D 128, 2 + 2 layers), tiny (4 + 4 layers), small (D 256, 3 + 3), base (D 512,
  // 6 + 6).
  std::string preset;              // empty: toy for a task, tiny for files
  int64_t d_model = 0, ff = 0;     // 0: as the preset says
  int heads = 0, layers = 0;       // output heads, and layers of each stack; 0: as the preset says
  std::string attention = "diff";  // softmax | diff | diff-v2
  std::string style = "llama";     // llama | vaswani
  double dropout = -1;             // -1: 0 for a task, 0.1 for files

  // Training. An epoch has as many updates as there are batches of batch_tokens, (longest side) x (sentences), when
  // pairs are sorted by length. An update's gradient is accumulated from pieces of 256 tokens: memory does not grow
  // with it.
  int64_t batch_tokens = 0;         // 0: 1024 for a task, 2048 for files
  double lr = 0.003;                // the peak
  int64_t warmup = 200;             // updates to reach it
  std::string schedule = "cosine";  // then: cosine, to 0 after the last update | inverse-sqrt
  double label_smoothing = -1;      // -1: 0 for a task, 0.1 for files
  double weight_decay = 0.01;
  double beta1 = 0.9, beta2 = 0.98, eps = 1e-8;
  double clip_norm = 1;
  int64_t max_epochs = 0;          // 0: 2 for a task, 10 for files; no limit if max_updates is one
  int64_t max_updates = 0;         // 0: as many as the epochs take
  uint64_t seed = 1;               // fixes the task, the vocabulary, the weights, the shuffles and the dropout
  bool overfit_one_batch = false;  // every update sees the same batch, which is validated on: can the model learn?

  // Validation is at the end of every epoch. The best model is kept, and training ends after `patience` validations
  // in a row that were no better.
  std::string best_by = "loss";  // loss | bleu, of the validation; BLEU is that of 200 greedy translations
  int64_t patience = 0;          // 0: never

  // Reports and checkpoints.
  int64_t log_every = 50;  // updates
  int64_t save_every = 0;  // updates; 0: an epoch
  int64_t average = 0;     // the last so many checkpoints are kept, and averaged at the end; 0: none

  /// Takes over what a JSON object says; `name` stands for it in messages. Throws InputError naming a key that is no
  /// setting, or has a value of another type.
  void update(const nlohmann::json& values, const std::string& name);
  /// The same for settings that are to win over earlier ones: where they name another preset or attention, sizes that
  /// they do not name are those of the preset again; where they name one of max_epochs and max_updates, the other is no
  /// limit any more; and where they name one kind of data (a task, a TSV, two files), the others are not used any more.
  void change(const nlohmann::json& values, const std::string& name);
  /// The defaults, changed by a file. Throws InputError naming the file and the key.
  static Settings read(const std::string& path);
  /// Fills in what depends on other settings. Throws InputError on a setting that cannot be.
  void resolve();
  /// The learning rate of each update, for a training of so many.
  difftensor::optim::Schedule learning_rate(int64_t updates) const;
  /// The model these settings describe, for a vocabulary of this size.
  difftensor::models::TransformerConfig model(int64_t vocabulary) const;
};

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Settings, task, pairs, train, valid, train_src, train_tgt, valid_src, valid_tgt,
                                   vocab_size, max_length, max_length_factor, preset, d_model, ff, heads, layers,
                                   attention, style, dropout, batch_tokens, lr, warmup, schedule, label_smoothing,
                                   weight_decay, beta1, beta2, eps, clip_norm, max_epochs, max_updates, seed,
                                   overfit_one_batch, best_by, patience, log_every, save_every, average)

}  // namespace translate
