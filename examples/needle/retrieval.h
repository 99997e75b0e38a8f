#pragma once
// Retrieval: find the needle that was asked for, in a context that is mostly filler.
//
//   context: filler filler KEY VALUE filler KEY VALUE filler ...    then queries: MARKER KEY VALUE  MARKER KEY VALUE ...
//
// The model reads it from left to right and, at the last token of a query's key, is to say the value that this key had
// in the context. Keys, values and filler have tokens of their own; so a key of two tokens out of a small alphabet shares
// each of them with other needles, which are its near keys: they distract.
#include <string>
#include <vector>

#include "core/random.h"

namespace needle {

/// One setting of the task.
struct Retrieval {
  int64_t context, needles, queries;  ///< tokens; needles among them; questions after them
  int64_t key_tokens, alphabet;       ///< of a key, and the tokens that each can be: alphabet^key_tokens keys
  int64_t values = 32, fillers = 32;  ///< tokens that a value, and a filler, can be

  int64_t length() const { return context + queries * (key_tokens + 2); }  ///< of a sequence, in tokens
  int64_t vocab() const { return 1 + alphabet + values + fillers; }        ///< marker 0, then keys, values, fillers
  int64_t keys() const;                                                    ///< that there can be
  /// The same task in another length. Throws std::invalid_argument unless needles fit the context, and queries and keys
  /// suffice.
  Retrieval resized(int64_t new_context, int64_t new_needles, int64_t new_queries) const;
};

/// Sequences of one setting, end to end, and their questions in order.
struct Questions {
  std::vector<int32_t> ids;
  std::vector<int64_t> lengths;   ///< of each sequence: all are one length
  std::vector<int32_t> where;     ///< of each question: its row of `ids`, whose next token is the answer
  std::vector<int32_t> answers;   ///< the value that is to come
  std::vector<int32_t> evidence;  ///< the row of `ids` at which that value stands in the context
};

/// `count` sequences drawn from `random`: distinct keys, each at a random place, values and filler uniform; the questions
/// are about different needles.
Questions sample(const Retrieval& setting, int64_t count, difftensor::Random& random);
/// Those of sequences [begin, end), numbered anew.
Questions slice(const Questions& all, int64_t begin, int64_t end);

/// What is trained and tested under one name.
struct RetrievalTask {
  Retrieval test;               ///< what is asked for in the end
  std::vector<Retrieval> easy;  ///< and smaller settings: each update is of one of them, drawn anew, with
  double share_easy;        ///< this probability. Without them nothing learns the long context in thousands of updates
  int64_t updates, tokens;  ///< of a whole training; tokens of an update
};

/// "needle1": one-token keys, where plain softmax and differential attention part; "needle2": two-token keys, where near
/// keys distract. Both are those of a pilot. Throws std::invalid_argument on another name.
const RetrievalTask& retrieval_task(const std::string& name);

}  // namespace needle
