#pragma once
// The models that are trained and decoded here, and the token ids they see. All as in tests/bench/pytorch_peer.py.
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

#include "examples/text/corpus.h"
#include "models/transformer.h"

namespace bench {

constexpr int32_t bos = 1, eos = 2;

/// tiny or small, with heads of the same width in each kind of attention: diff pairs two of them.
inline difftensor::models::TransformerConfig preset(const std::string& name, const std::string& attention,
                                                    int64_t vocab) {
  difftensor::models::TransformerConfig c;
  c.vocab = vocab;
  c.attention = difftensor::models::attention_from_string(attention);
  if (name == "tiny") {
    c.d_model = 128, c.ff = 256, c.heads = 2, c.encoder_layers = c.decoder_layers = 4;
  } else if (name == "small") {
    c.d_model = 256, c.ff = 704, c.heads = 4, c.encoder_layers = c.decoder_layers = 3;
  } else {
    throw text::InputError("--preset " + name + ": there are tiny and small");
  }
  if (c.attention != difftensor::models::AttentionKind::diff) c.heads *= 2;
  return c;
}

/// What gzip makes of a file. Throws InputError if it cannot.
inline std::string gunzip(const std::string& path) {
  if (access(path.c_str(), R_OK) != 0) throw text::InputError(path + ": " + std::strerror(errno));
  std::string command = "gzip -dc <'", bytes;
  for (char c : path) command += c == '\'' ? std::string("'\\''") : std::string(1, c);
  FILE* pipe = popen((command + "' 2>/dev/null").c_str(), "r");
  if (!pipe) throw text::InputError(path + ": cannot run gzip: " + std::strerror(errno));
  char buffer[65536];
  for (size_t n; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) bytes.append(buffer, n);
  if (pclose(pipe) != 0) throw text::InputError(path + ": gzip cannot read it");
  return bytes;
}

/// Token ids (0 is padding, so none), a sentence a line, from a plain file or a .gz. Throws InputError naming the file
/// and line.
inline std::vector<std::vector<int32_t>> read_ids(const std::string& path) {
  constexpr int32_t limit = 1 << 20;  // a larger vocabulary is a mistake
  std::istringstream text(path.ends_with(".gz") ? gunzip(path) : text::read_file(path));
  std::vector<std::vector<int32_t>> sentences;
  for (const std::string& line : text::read_lines(text, path)) {
    std::vector<int32_t>& ids = sentences.emplace_back();
    std::istringstream words(line);
    for (std::string word; words >> word;) {
      int32_t id = -1;
      const char* end = word.data() + word.size();
      if (auto [stop, error] = std::from_chars(word.data(), end, id);
          error != std::errc() || stop != end || id <= 0 || id >= limit)
        throw text::InputError(path + ":" + std::to_string(sentences.size()) + ": \"" + word +
                                    "\" is not a token id");
      ids.push_back(id);
    }
  }
  if (sentences.empty()) throw text::InputError(path + ": is empty");
  return sentences;
}

}  // namespace bench
