#pragma once
// Lines of text, and pairs of them: every fault in what is read is reported with its file and line.
#include <iosfwd>
#include <string>
#include <vector>

#include "examples/text/files.h"

namespace text {

/// A sentence and its translation.
struct Pair {
  std::string source, target;
  size_t line = 0;  ///< in its file, from 1
};

/// Takes off what belongs to a file and not to its line's text: "\r" at the end, a byte order mark before the first line.
void strip_line(std::string& line, bool first);
/// The lines of a text, without their "\n" or "\r\n", nor a byte order mark; empty ones are kept. Throws InputError at
/// the first line that is not UTF-8. `name` stands for the stream in messages.
std::vector<std::string> read_lines(std::istream& in, const std::string& name);
std::vector<std::string> read_lines(const std::string& path);

/// Line i of one file with line i of the other. Throws InputError if their numbers differ, or a file or line is empty.
std::vector<Pair> read_parallel(const std::string& source_path, const std::string& target_path);
/// The two sides on one line, with a tab between. Throws InputError as above, or if a line has not exactly one tab.
std::vector<Pair> read_tsv(const std::string& path);

/// Nothing but whitespace, of whatever kind.
bool is_blank(const std::string& text);

}  // namespace text
