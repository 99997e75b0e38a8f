// A file of tensors from a stranger.
#include "core/safetensors.h"

#include <cstring>
#include <stdexcept>

#include "examples/text/unicode.h"
#include "tests/fuzz/fuzz.h"

namespace fuzz {

const Memory memory{256 << 10, 200};

void fuzz(std::string_view input) {
  using namespace difftensor;
  const std::string path = file("a.safetensors", input), copy = folder() + "/copy.safetensors";
  SafeTensors content;
  if (!reads<std::runtime_error>(path, [&] { content = load_safetensors(path); })) return;
  for (const auto& [name, tensor] : content.tensors)
    check(text::find_invalid_utf8(name) == std::string::npos, "names are UTF-8");

  save_safetensors(copy, content);
  const std::string written = bytes_of(copy);
  const SafeTensors again = load_safetensors(copy);
  check(again.integers == content.integers, "integers are read back");
  check(again.tensors.size() == content.tensors.size(), "all tensors are read back");
  for (const auto& [name, tensor] : content.tensors) {
    const Tensor& other = again.tensors.at(name);
    check(other.shape() == tensor.shape(), "shapes are read back");
    check(tensor.numel() == 0 || std::memcmp(other.data(), tensor.data(), tensor.numel() * sizeof(Scalar)) == 0,
          "every bit is read back");
  }
  for (const auto& [key, value] : content.metadata)
    check(again.metadata.at(key) == value, "metadata are read back");
  save_safetensors(copy, again);
  check(bytes_of(copy) == written, "the same content is the same bytes");
}

}  // namespace fuzz
