#pragma once
// Files of text: every fault in what is read is reported with its file and line.
#include <iosfwd>
#include <stdexcept>
#include <string>
#include <vector>

namespace translate {

/// A sentence and its translation.
struct Pair {
  std::string source, target;
  size_t line = 0;  ///< in its file, from 1
};

/// Something is wrong with what the user gave us. The message is one line: "train.en:17: ...".
struct InputError : std::runtime_error {
  using std::runtime_error::runtime_error;
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

/// A whole file's bytes. Throws InputError if it cannot be read.
std::string read_file(const std::string& path);
/// Throws InputError if a file could not be written there, for want of its folder or of permission.
void require_writable(const std::string& path);
/// Writes a file whole or not at all (difftensor::write_atomically). Throws std::runtime_error if it cannot.
void write_file(const std::string& path, const std::string& bytes);

}  // namespace translate
