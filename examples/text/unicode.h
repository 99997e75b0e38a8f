#pragma once
// Text as characters, where bytes will not do. UTF-8 throughout; whitespace and case are Python's, which sacreBLEU's
// numbers rest on.
#include <string>
#include <string_view>
#include <vector>

namespace text {

/// Where the first byte sequence begins that is not UTF-8 as RFC 3629 has it (so no overlong forms, no surrogates,
/// nothing past U+10FFFF); npos if there is none.
size_t find_invalid_utf8(std::string_view text);

/// True for each byte but the second and later ones of a character.
inline bool begins_character(char c) { return (c & 0xC0) != 0x80; }

/// The length in bytes of the whitespace character that `text`, which is not empty, begins with; 0 if it is another.
/// Python's notion of it, which includes the no-break space.
size_t leading_space(std::string_view text);

/// The words between whitespace: Python's str.split(). They point into `text`.
std::vector<std::string_view> split(std::string_view text);

/// Python's str.lower(). Throws std::invalid_argument on what is not UTF-8, std::runtime_error without glibc's C.UTF-8.
std::string to_lower(const std::string& text);

}  // namespace text
