#pragma once
// SentencePiece keeps some characters and words for itself: text that has them loses them, or is left out of training,
// without a word. Here they are written with others instead, and back.
#include <string>
#include <string_view>

namespace text {

/// Text without U+2581 and U+2585 (SentencePiece's signs for a space and for the unknown), NUL, and its pieces <pad>,
/// <s>, </s> and <unk>. Each is written as U+EE00, of the private use area, and a letter; U+EE00 itself too. All other
/// text stays as it is.
std::string escape(std::string_view text);
/// unescape(escape(text)) == text. U+EE00 before any other letter stays, as a model might write it.
std::string unescape(std::string_view text);

}  // namespace text
