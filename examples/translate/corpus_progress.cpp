#include "examples/translate/corpus_progress.h"

#include <omp.h>

#include <memory>

namespace translate {

using training::Progress;

text::ReadingProgress show_reading() {
  constexpr int64_t megabyte = 1'000'000;
  return [progress = std::shared_ptr<Progress>(), last = int64_t{0}](int64_t bytes, int64_t of) mutable {
    if (of == 0) return;
    if (!progress || bytes < last)
      progress = std::make_shared<Progress>(of / megabyte, bytes / megabyte, "megabytes read");
    progress->update(bytes / megabyte);
    last = bytes;
  };
}

text::Vocabulary learn_vocabulary(const text::Sentences& sources, const text::Sentences& targets, int size) {
  Progress progress(size);
  progress.update(0, "learning the vocabulary");
  return text::Vocabulary::learn({&sources, &targets}, size);
}

void SentenceProgress::add(int64_t sentences) {
  const int64_t done = done_ += sentences;
  if (omp_get_thread_num() == 0) progress_.update(done);
}

}  // namespace translate
