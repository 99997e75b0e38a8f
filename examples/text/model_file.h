#pragma once
// SentencePiece's model file, where the library's functions do not reach. It is one message of Protocol Buffers
// (sentencepiece_model.proto): fields, each with a number, of which some are messages themselves.
#include <string>

namespace text {

/// The model without the note that it was learned from counted words ("tsv"): of the same words, it is the same bytes.
std::string without_input_format(const std::string& model);

/// Whether the model merges pairs (BPE) in text that it takes as it is, but for "▁" before it and for each space.
bool merges_words_as_they_are(const std::string& model);

}  // namespace text
