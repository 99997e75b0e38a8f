#include "examples/text/corpus.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <filesystem>
#include <numeric>

#include "examples/text/unicode.h"

namespace text {
namespace {

std::string at_line(const std::string& name, size_t index) { return name + ":" + std::to_string(index + 1) + ": "; }

std::string cannot(const char* what, const std::string& name) {
  return name + ": cannot " + what + ": " + std::strerror(errno);
}

std::ifstream open(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw InputError(cannot("open", path));
  return in;
}

void require_utf8(const std::string& line, const std::string& name, size_t index) {
  if (const size_t bad = find_invalid_utf8(line); bad != std::string::npos)
    throw InputError(at_line(name, index) + "byte " + std::to_string(bad + 1) + " is not valid UTF-8");
}

void require_some(size_t lines, const std::string& path) {
  if (lines == 0) throw InputError(path + ": the file is empty");
}

void require_words(std::string_view text, const std::string& path, size_t index, const char* what) {
  if (is_blank(text)) throw InputError(at_line(path, index) + what + " is empty");
}

void add_line(Pairs& pairs, const std::string& line, const std::string& path, size_t index) {
  require_words(line, path, index, "the line");
  if (const auto tabs = std::count(line.begin(), line.end(), '\t'); tabs != 1)
    throw InputError(at_line(path, index) + "expected source, one tab, target; found " + std::to_string(tabs) +
                     " tabs");
  const std::string_view both = line;
  const size_t tab = both.find('\t');
  const std::string_view source = both.substr(0, tab), target = both.substr(tab + 1);
  require_words(source, path, index, "the source");
  require_words(target, path, index, "the target");
  pairs.add(source, target, index + 1);
}

// One side of a parallel corpus: lines to learn from, of which there must be some.
struct Side {
  std::string path;
  Sentences sentences;
  size_t first_blank = std::string::npos;

  Side(const std::string& path, const ReadingProgress& progress) : path(path) {
    LineReader reader(path, progress);
    sentences.reserve(reader.bytes());
    for (std::string line; reader.next(line);) {
      require_utf8(line, path, sentences.size());
      if (first_blank == std::string::npos && is_blank(line)) first_blank = sentences.size();
      sentences.add(line);
    }
    require_some(sentences.size(), path);
  }
};

}  // namespace

Pairs::Pairs(Sentences sources, Sentences targets)
    : sources_(std::move(sources)), targets_(std::move(targets)), lines_(sources_.size()) {
  std::iota(lines_.begin(), lines_.end(), size_t{1});
}

void Pairs::add(std::string_view source, std::string_view target, size_t line) {
  sources_.add(source);
  targets_.add(target);
  lines_.push_back(line);
}

void Pairs::reserve(size_t source_bytes, size_t target_bytes) {
  sources_.reserve(source_bytes);
  targets_.reserve(target_bytes);
}

void Pairs::remove_if(const std::function<bool(size_t)>& removed) {
  sources_.remove_if(removed);
  targets_.remove_if(removed);
  size_t kept = 0;
  for (size_t i = 0; i < lines_.size(); ++i)
    if (!removed(i)) lines_[kept++] = lines_[i];
  lines_.resize(kept);
}

LineReader::LineReader(const std::string& path, ReadingProgress progress)
    : path_(path), progress_(std::move(progress)), in_(open(path)) {
  std::error_code none;
  if (std::filesystem::is_regular_file(path, none))
    bytes_ = static_cast<int64_t>(std::filesystem::file_size(path, none));
}

bool LineReader::next(std::string& line) {
  if (!std::getline(in_, line)) {
    if (in_.bad()) throw InputError(cannot("read", path_));
    return false;
  }
  read_ += static_cast<int64_t>(line.size()) + 1;
  strip_line(line, lines_ == 0);
  if (++lines_ % 4096 == 0 && progress_) progress_(read_, bytes_);
  return true;
}

void strip_line(std::string& line, bool first) {
  constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
  if (line.ends_with('\r')) line.pop_back();
  if (first && line.starts_with(byte_order_mark)) line.erase(0, byte_order_mark.size());
}

std::vector<std::string> read_lines(std::istream& in, const std::string& name) {
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) {
    strip_line(line, lines.empty());
    require_utf8(line, name, lines.size());
    lines.push_back(std::move(line));
  }
  if (in.bad()) throw InputError(cannot("read", name));
  return lines;
}

std::vector<std::string> read_lines(const std::string& path) {
  std::ifstream in = open(path);
  return read_lines(in, path);
}

Pairs read_parallel(const std::string& source_path, const std::string& target_path, const ReadingProgress& progress) {
  Side source(source_path, progress), target(target_path, progress);
  const size_t lines = source.sentences.size();
  if (lines != target.sentences.size())
    throw InputError(source_path + " has " + std::to_string(lines) + " lines, but " + target_path + " has " +
                     std::to_string(target.sentences.size()));
  if (const Side& first = source.first_blank <= target.first_blank ? source : target; first.first_blank < lines)
    throw InputError(at_line(first.path, first.first_blank) + "the line is empty");
  return Pairs(std::move(source.sentences), std::move(target.sentences));
}

Pairs read_tsv(const std::string& path, const ReadingProgress& progress) {
  LineReader reader(path, progress);
  Pairs pairs;
  pairs.reserve(reader.bytes() / 2, reader.bytes() / 2);
  // What is not UTF-8 is told before any other fault, wherever it is.
  std::exception_ptr fault;
  for (std::string line; reader.next(line);) {
    const size_t index = reader.lines() - 1;
    require_utf8(line, path, index);
    if (fault) continue;
    try {
      add_line(pairs, line, path, index);
    } catch (const InputError&) {
      fault = std::current_exception();
    }
  }
  if (fault) std::rethrow_exception(fault);
  require_some(pairs.size(), path);
  return pairs;
}

bool is_blank(std::string_view text) {
  while (!text.empty()) {
    const size_t space = leading_space(text);
    if (space == 0) return false;
    text.remove_prefix(space);
  }
  return true;
}

}  // namespace text
