#include "core/safetensors.h"

#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <list>
#include <nlohmann/json.hpp>
#include <system_error>
#include <tuple>
#include <utility>

namespace difftensor::inline DT_PRECISION {
namespace {
using nlohmann::json;
static_assert(std::endian::native == std::endian::little, "the bytes of safetensors are not swapped here");

std::string read_file(const std::string& path) {
  std::error_code error;
  const uint64_t size = std::filesystem::file_size(path, error);
  if (error) throw std::runtime_error(error.message());
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error(std::strerror(errno));
  std::string bytes(size, '\0');
  if (!in.read(bytes.data(), static_cast<std::streamsize>(size))) throw std::runtime_error("cannot be read to its end");
  return bytes;
}

// A JSON array of sizes. (By itself json would turn 2.5, -1 or true into one too.)
std::vector<uint64_t> sizes(const std::string& name, const json& array) {
  bool ok = array.is_array();
  for (auto& item : array) ok = ok && item.is_number_unsigned();
  require(ok, name.c_str(), "shape and data_offsets must be lists of whole numbers");
  return array.get<std::vector<uint64_t>>();
}

template <class From, class To>
void convert(std::string_view bytes, To* to) {
  for (; !bytes.empty(); bytes.remove_prefix(sizeof(From))) {
    From value;
    std::memcpy(&value, bytes.data(), sizeof(From));
    *to++ = static_cast<To>(value);
  }
}

// Trusts nothing: every number in the header is checked before it is used.
SafeTensors parse(const std::string& file) {
  uint64_t length = 0;
  require(file.size() >= sizeof(length), "header", "the file has only ", file.size(), " bytes");
  std::memcpy(&length, file.data(), sizeof(length));
  require(length <= file.size() - sizeof(length), "header", length, " bytes long, in a file of ", file.size());
  const auto text = file.begin() + sizeof(length);
  const json header = json::parse(text, text + static_cast<int64_t>(length));
  require(header.is_object(), "header", "not a JSON object");
  const std::string_view data = std::string_view(file).substr(sizeof(length) + length);

  SafeTensors content;
  std::vector<std::tuple<uint64_t, uint64_t, std::string>> entries;  // begin, end, name
  for (auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      content.metadata = entry.get<std::map<std::string, std::string>>();
      continue;
    }
    const auto offsets = sizes(name, entry.at("data_offsets"));
    require(offsets.size() == 2 && offsets[0] <= offsets[1] && offsets[1] <= data.size(), name.c_str(),
            "data_offsets are not a range of the ", data.size(), " bytes of data");
    entries.emplace_back(offsets[0], offsets[1], name);
  }

  std::sort(entries.begin(), entries.end());
  uint64_t at = 0;
  for (auto& [begin, end, name] : entries) {
    const char* where = name.c_str();
    require(begin == at, where, "its data begins at byte ", begin, ", but what comes before ends at ", at);
    at = end;

    const auto dtype = header[name].at("dtype").get<std::string>();
    require(dtype == "F32" || dtype == "F64" || dtype == "I32" || dtype == "I64", where, "dtype ", dtype,
            " is none of F32, F64, I32, I64");
    const auto dims = sizes(name, header[name].at("shape"));
    uint64_t size = dtype.ends_with("32") ? 4 : 8;
    bool overflow = false;
    for (uint64_t dim : dims) overflow |= __builtin_mul_overflow(size, dim, &size);
    require(!overflow && size == end - begin, where, "its shape needs another number of bytes than the ", end - begin,
            " it has");

    const Shape shape(dims.begin(), dims.end());
    const std::string_view bytes = data.substr(begin, size);
    if (dtype.starts_with('F')) {
      Tensor& values = content.tensors[name] = Tensor(shape);
      dtype == "F32" ? convert<float>(bytes, values.data()) : convert<double>(bytes, values.data());
    } else {
      Integers& integers = content.integers[name] = {std::vector<int64_t>(shape.numel()), shape, dtype};
      int64_t* values = integers.values.data();
      dtype == "I32" ? convert<int32_t>(bytes, values) : convert<int64_t>(bytes, values);
    }
  }
  require(at == data.size(), "data", data.size() - at, " bytes at the end belong to no tensor");
  return content;
}

}  // namespace

void write_atomically(const std::string& path, const std::vector<std::string_view>& pieces) {
  // A link is followed, and what is no plain file (/dev/null, a pipe) is written to, not replaced.
  namespace fs = std::filesystem;
  std::error_code none;
  fs::path target = path;
  for (int links = 0; links < 40 && fs::is_symlink(target, none); ++links)
    target = target.parent_path() / fs::read_symlink(target, none);
  const bool replace = !fs::exists(target, none) || fs::is_regular_file(target, none);
  const std::string written = target.string() + (replace ? ".tmp" : "");
  bool opened = false;
  const auto check = [&](bool ok) {
    if (ok) return;
    const int reason = errno;
    if (replace && opened) std::remove(written.c_str());
    throw std::system_error(reason, std::generic_category(), "cannot write " + path);
  };
  {
    const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(written.c_str(), "wb"), std::fclose);
    opened = file != nullptr;
    check(opened);
    for (auto piece : pieces) check(piece.empty() || std::fwrite(piece.data(), piece.size(), 1, file.get()) == 1);
    // On disk before it gets its name: or a power failure could leave the name with no content.
    check(std::fflush(file.get()) == 0 && (!replace || fsync(fileno(file.get())) == 0));
  }
  if (replace) check(std::rename(written.c_str(), target.c_str()) == 0);
}

SafeTensors load_safetensors(const std::string& path) {
  try {
    return parse(read_file(path));
  } catch (const std::exception& error) {
    throw std::runtime_error("cannot load " + path + ": " + error.what());
  }
}

void save_safetensors(const std::string& path, const SafeTensors& content) {
  json header = {{"__metadata__", content.metadata}};
  std::vector<std::string_view> pieces(2);  // the header and its length, when they are known; then the data
  uint64_t at = 0;
  const auto add = [&](const std::string& name, const char* dtype, const Shape& shape, const void* data, size_t size) {
    const std::string shown = json(name).dump(-1, ' ', false, json::error_handler_t::replace);
    require(shown == json(name).dump(-1, ' ', false, json::error_handler_t::ignore), "save_safetensors", "the name ",
            shown, " is not UTF-8");
    require(!header.contains(name), "save_safetensors", "there are two entries named ", name);
    const std::vector dims(shape.begin(), shape.end());
    header[name] = {{"dtype", dtype}, {"shape", dims}, {"data_offsets", {at, at + size}}};
    pieces.emplace_back(static_cast<const char*>(data), size);
    at += size;
  };
  // The widest elements first: so every tensor lies at a multiple of its element's size.
  std::list<std::vector<int32_t>> narrow;
  for (auto& [name, integers] : content.integers) {
    const auto& [values, shape, dtype] = integers;
    require(dtype == "I32" || dtype == "I64", "save_safetensors", name, ": dtype ", dtype, " is neither I32 nor I64");
    require(static_cast<int64_t>(values.size()) == shape.numel(), "save_safetensors", name, ": ", values.size(),
            " integers for shape ", shape);
    if (dtype == "I64") add(name, "I64", shape, values.data(), values.size() * sizeof(int64_t));
  }
  for (auto& [name, tensor] : content.tensors)
    add(name, sizeof(Scalar) == 4 ? "F32" : "F64", tensor.shape(), tensor.data(), tensor.numel() * sizeof(Scalar));
  for (auto& [name, integers] : content.integers) {
    if (integers.dtype != "I32") continue;
    for (int64_t value : integers.values)
      require(std::in_range<int32_t>(value), "save_safetensors", name, ": ", value, " does not fit I32");
    const auto& values = narrow.emplace_back(integers.values.begin(), integers.values.end());
    add(name, "I32", integers.shape, values.data(), values.size() * sizeof(int32_t));
  }

  std::string text = header.dump(-1, ' ', false, json::error_handler_t::replace);  // metadata may not be UTF-8
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  pieces[0] = {reinterpret_cast<const char*>(&length), sizeof(length)};
  pieces[1] = text;
  write_atomically(path, pieces);
}

}  // namespace difftensor::inline DT_PRECISION
