#pragma once
// What a long start shows: how far a corpus is read, learned from, and encoded.
#include <atomic>

#include "examples/text/corpus.h"
#include "examples/text/vocabulary.h"
#include "examples/training/progress.h"

namespace translate {

/// Shows how many megabytes of a file were read, each file anew; nothing where the size is not known, as of a pipe.
text::ReadingProgress show_reading();

/// Vocabulary::learn, which cannot say how far it is: the bar only says what is being done.
text::Vocabulary learn_vocabulary(const text::Sentences& sources, const text::Sentences& targets, int size);

/// Shows how many sentences the threads of a parallel loop have done together.
class SentenceProgress {
 public:
  explicit SentenceProgress(int64_t total) : progress_(total, 0, "encoding sentences") {}
  /// So many more are done. Any thread may call it; one of them draws.
  void add(int64_t sentences);

 private:
  training::Progress progress_;
  std::atomic<int64_t> done_ = 0;
};

}  // namespace translate
