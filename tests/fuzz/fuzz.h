#pragma once
// What every fuzzer is made of. libFuzzer calls fuzz() with bytes of its own making; whatever these are, it must return.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace fuzz {

/// What a fuzzer's file defines: one execution, ...
void fuzz(std::string_view input);
/// ... and the most memory that it may hold at a time: `fixed` bytes, and `factor` times the input's size.
struct Memory {
  size_t fixed, factor;
};
extern const Memory memory;

/// Ends the fuzzer, which then writes the input to a file.
inline void check(bool ok, const char* promise, const std::string& seen = "") {
  if (ok) return;
  std::fprintf(stderr, "BROKEN PROMISE: %s\n%s\n", promise, seen.c_str());
  std::abort();
}

/// The input cut at each byte 0xFF, which UTF-8 never has; as many parts as asked for, the last with all the rest.
std::vector<std::string> parts(std::string_view input, size_t count);

/// A folder of this process.
const std::string& folder();
/// Writes a file there, and returns its path.
std::string file(const std::string& name, std::string_view bytes);
std::string bytes_of(const std::string& path);

/// Did it read? If not, then because of an Error of one line that says what was read; any other exception is a crash.
template <class Error, class Read>
bool reads(const std::string& name, Read read) {
  try {
    read();
    return true;
  } catch (const Error& error) {
    const std::string message = error.what();
    check(message.find(name) != std::string::npos, "an error names the file", message);
    check(message.find('\n') == std::string::npos, "an error is one line", message);
    return false;
  }
}

/// Is it XML, as far as we write it: tags that match, attributes in quotes, characters that XML 1.0 has; and no NaN?
void check_svg(const std::string& svg);

}  // namespace fuzz
