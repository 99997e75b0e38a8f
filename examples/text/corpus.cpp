#include "examples/text/corpus.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <istream>

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

// Lines to learn from: there must be some.
std::vector<std::string> read_sentences(const std::string& path) {
  std::vector<std::string> lines = read_lines(path);
  if (lines.empty()) throw InputError(path + ": the file is empty");
  return lines;
}

void require_words(const std::string& text, const std::string& path, size_t index, const char* what) {
  if (is_blank(text)) throw InputError(at_line(path, index) + what + " is empty");
}

}  // namespace

bool is_blank(const std::string& text) { return split(text).empty(); }

void strip_line(std::string& line, bool first) {
  constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
  if (line.ends_with('\r')) line.pop_back();
  if (first && line.starts_with(byte_order_mark)) line.erase(0, byte_order_mark.size());
}

std::vector<std::string> read_lines(std::istream& in, const std::string& name) {
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) {
    strip_line(line, lines.empty());
    if (const size_t bad = find_invalid_utf8(line); bad != std::string::npos)
      throw InputError(at_line(name, lines.size()) + "byte " + std::to_string(bad + 1) + " is not valid UTF-8");
    lines.push_back(std::move(line));
  }
  if (in.bad()) throw InputError(cannot("read", name));
  return lines;
}

std::vector<std::string> read_lines(const std::string& path) {
  std::ifstream in = open(path);
  return read_lines(in, path);
}

std::vector<Pair> read_parallel(const std::string& source_path, const std::string& target_path) {
  std::vector<std::string> source = read_sentences(source_path), target = read_sentences(target_path);
  if (source.size() != target.size())
    throw InputError(source_path + " has " + std::to_string(source.size()) + " lines, but " + target_path + " has " +
                     std::to_string(target.size()));
  std::vector<Pair> pairs;
  for (size_t i = 0; i < source.size(); ++i) {
    require_words(source[i], source_path, i, "the line");
    require_words(target[i], target_path, i, "the line");
    pairs.push_back({std::move(source[i]), std::move(target[i]), i + 1});
  }
  return pairs;
}

std::vector<Pair> read_tsv(const std::string& path) {
  std::vector<Pair> pairs;
  for (const std::string& line : read_sentences(path)) {
    const size_t index = pairs.size();
    require_words(line, path, index, "the line");
    if (const auto tabs = std::count(line.begin(), line.end(), '\t'); tabs != 1)
      throw InputError(at_line(path, index) + "expected source, one tab, target; found " + std::to_string(tabs) +
                       " tabs");
    const size_t tab = line.find('\t');
    pairs.push_back({line.substr(0, tab), line.substr(tab + 1), index + 1});
    require_words(pairs.back().source, path, index, "the source");
    require_words(pairs.back().target, path, index, "the target");
  }
  return pairs;
}

}  // namespace text
