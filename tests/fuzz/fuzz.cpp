#include "tests/fuzz/fuzz.h"

#include <sanitizer/allocator_interface.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "examples/text/unicode.h"

namespace fuzz {

std::vector<std::string> parts(std::string_view input, size_t count) {
  std::vector<std::string> all;
  while (all.size() + 1 < count) {
    const size_t end = std::min(input.find('\xFF'), input.size());
    all.emplace_back(input.substr(0, end));
    input.remove_prefix(std::min(end + 1, input.size()));
  }
  all.emplace_back(input);
  return all;
}

const std::string& folder() {
  struct Folder {
    std::string path = (std::filesystem::temp_directory_path() / "fuzz-XXXXXX").string();
    Folder() { check(mkdtemp(path.data()), "a folder can be made", path); }
    ~Folder() { std::filesystem::remove_all(path); }
  };
  static const Folder made;
  return made.path;
}

std::string file(const std::string& name, std::string_view bytes) {
  const std::string path = folder() + "/" + name;
  std::FILE* out = std::fopen(path.c_str(), "wb");
  check(out && std::fwrite(bytes.data(), 1, bytes.size(), out) == bytes.size() && std::fclose(out) == 0,
        "a file can be written", path);
  return path;
}

std::string bytes_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void check_svg(const std::string& svg) {
  check(text::find_invalid_utf8(svg) == std::string::npos, "a picture is UTF-8", svg);
  for (size_t i = 0; i < svg.size(); ++i) {
    check(static_cast<unsigned char>(svg[i]) >= ' ' || svg[i] == '\n', "a picture has no control characters", svg);
    check(svg.compare(i, 3, "\uFFFE") != 0 && svg.compare(i, 3, "\uFFFF") != 0, "nor U+FFFE, U+FFFF", svg);
    if (svg[i] != '&') continue;
    const std::string entity = svg.substr(i, std::min(svg.find(';', i), i + 8) - i + 1);
    check(entity == "&amp;" || entity == "&lt;" || entity == "&gt;" || entity == "&quot;", "entities are XML's", svg);
  }
  std::vector<std::string> open;
  for (size_t at = 0; (at = svg.find('<', at)) != std::string::npos;) {
    const size_t end = svg.find('>', at);
    check(end != std::string::npos, "tags have an end", svg);
    const std::string tag = svg.substr(at + 1, end - at - 1), name = tag.substr(0, tag.find(' '));
    check(std::count(tag.begin(), tag.end(), '"') % 2 == 0 && tag.find('<') == std::string::npos, "tags are whole", tag);
    for (const char* number : {"nan", "inf"}) check(tag.find(number) == std::string::npos, "numbers are finite", tag);
    if (tag.starts_with('/')) {
      check(!open.empty() && open.back() == tag.substr(1), "tags match", svg);
      open.pop_back();
    } else if (!tag.ends_with('/')) {
      open.push_back(name);
    }
    at = end;
  }
  check(open.empty(), "all tags are closed", svg);
}

}  // namespace fuzz

// --- Memory: what is held during one execution ------------------------------------------------------------------------

static int64_t held = 0, most = 0;
static void allocated(const volatile void*, size_t size) { most = std::max(most, held += static_cast<int64_t>(size)); }
static void freed(const volatile void* block) {
  if (block) held -= static_cast<int64_t>(__sanitizer_get_allocated_size(const_cast<const void*>(block)));
}

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  fuzz::fuzz("");  // what is made once and kept
  __sanitizer_install_malloc_and_free_hooks(allocated, freed);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  held = most = 0;
  fuzz::fuzz({reinterpret_cast<const char*>(bytes), size});
  const auto allowed = static_cast<int64_t>(fuzz::memory.fixed + fuzz::memory.factor * size);
  fuzz::check(most <= allowed, "memory is bounded by the input's size",
              std::to_string(size) + " bytes read: " + std::to_string(most) + " held, " + std::to_string(allowed) + " allowed");
  return 0;
}
