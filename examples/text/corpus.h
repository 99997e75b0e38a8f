#pragma once
// Lines of text, and pairs of them: every fault in what is read is reported with its file and line.
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "examples/text/files.h"
#include "examples/text/sentences.h"

namespace text {

/// A sentence and its translation.
struct Pair {
  std::string source, target;
  size_t line = 0;  ///< in its file, from 1
};

/// Pairs, packed: about 4 bytes a word.
class Pairs {
 public:
  Pairs() = default;
  /// Of as many sources as targets: pair i is of line i + 1.
  Pairs(Sentences sources, Sentences targets);

  size_t size() const { return lines_.size(); }
  bool empty() const { return lines_.empty(); }
  Pair operator[](size_t i) const { return {sources_.text(i), targets_.text(i), lines_[i]}; }
  size_t line(size_t i) const { return lines_[i]; }
  const Sentences& sources() const { return sources_; }
  const Sentences& targets() const { return targets_; }

  void add(std::string_view source, std::string_view target, size_t line = 0);
  void add(const Pair& pair) { add(pair.source, pair.target, pair.line); }
  /// Room for text of so many bytes.
  void reserve(size_t source_bytes, size_t target_bytes);
  /// Takes out the pairs of which removed(i) is true.
  void remove_if(const std::function<bool(size_t)>& removed);

 private:
  Sentences sources_, targets_;
  std::vector<uint64_t> lines_;
};

/// Told of what was read, now and then: bytes of the file, and how many it has (0 if nobody knows, as of a pipe).
using ReadingProgress = std::function<void(int64_t bytes, int64_t of)>;

/// The lines of a file, one at a time, without their "\n" or "\r\n", nor a byte order mark; whatever bytes they have.
class LineReader {
 public:
  /// Throws InputError if the file cannot be opened.
  explicit LineReader(const std::string& path, ReadingProgress progress = {});
  /// False at the end. Throws InputError if the file cannot be read.
  bool next(std::string& line);
  int64_t lines() const { return lines_; }  ///< that were read
  int64_t bytes() const { return bytes_; }  ///< of the file, 0 if nobody knows

 private:
  std::string path_;
  ReadingProgress progress_;
  std::ifstream in_;
  int64_t lines_ = 0, read_ = 0, bytes_ = 0;
};

/// Takes off what belongs to a file and not to its line's text: "\r" at the end, a byte order mark before the first line.
void strip_line(std::string& line, bool first);
/// The lines of a text, without their "\n" or "\r\n", nor a byte order mark; empty ones are kept. Throws InputError at
/// the first line that is not UTF-8. `name` stands for the stream in messages.
std::vector<std::string> read_lines(std::istream& in, const std::string& name);
std::vector<std::string> read_lines(const std::string& path);

/// Line i of one file with line i of the other. Throws InputError if their numbers differ, a file or line is
/// empty or not UTF-8, or a file cannot be read.
Pairs read_parallel(const std::string& source_path, const std::string& target_path,
                    const ReadingProgress& progress = {});
/// The two sides on one line, with a tab between. Throws InputError as above, or if a line has not exactly one tab.
Pairs read_tsv(const std::string& path, const ReadingProgress& progress = {});

/// Nothing but whitespace, of whatever kind.
bool is_blank(std::string_view text);

}  // namespace text
