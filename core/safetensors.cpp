#include "core/safetensors.h"

#include <bit>
#include <cstdio>
#include <cstring>
#include <list>
#include <tuple>
#include <utility>

#include "core/crc32.h"
#include "core/files.h"
#include "core/json.h"

namespace difftensor::inline DT_PRECISION {
namespace {
using nlohmann::json;
static_assert(std::endian::native == std::endian::little, "the bytes of safetensors are not swapped here");

// The metadata's key of the checksum, and what stands for its digits where it is computed.
const std::string checksum_key = "crc32", no_digits(8, '0');

// Where the digits begin in a header. (A string that held this would have a backslash before each quote.)
size_t find_digits(std::string_view header, const std::string& written) {
  const std::string before = '"' + checksum_key + "\":\"";
  const size_t at = header.find(before + written + '"');
  return at == std::string::npos ? at : at + before.size();
}

// With zeros for the digits, whose place is `at`.
std::string checksum(std::string_view header, size_t at, const std::vector<std::string_view>& data) {
  uint32_t sum = crc32(no_digits, crc32(header.substr(0, at)));
  sum = crc32(header.substr(at + no_digits.size()), sum);
  for (const std::string_view piece : data) sum = crc32(piece, sum);
  char text[9];
  std::snprintf(text, sizeof text, "%08x", sum);
  return text;
}

void check_sum(std::string_view header, std::string_view data, const std::string& written) {
  const size_t at = find_digits(header, written);
  const bool digits = at != std::string::npos && written.size() == no_digits.size();
  if (!digits || checksum(header, at, {data}) != written)
    throw std::runtime_error(
        "the file is damaged: its bytes are not those that its checksum was made of; take another copy of it");
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
SafeTensors parse(const std::string& file) try {
  uint64_t length = 0;
  require(file.size() >= sizeof(length), "header", "the file has only ", file.size(), " bytes");
  std::memcpy(&length, file.data(), sizeof(length));
  require(length <= file.size() - sizeof(length), "header", length, " bytes long, in a file of ", file.size());
  const std::string_view text = std::string_view(file).substr(sizeof(length), length);
  const std::string_view data = std::string_view(file).substr(sizeof(length) + length);
  const json header = parse_json(text, "header");
  require(header.is_object(), "header", "not a JSON object");

  SafeTensors content;
  std::vector<std::tuple<uint64_t, uint64_t, std::string>> entries;  // begin, end, name
  for (auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      content.metadata = entry.get<std::map<std::string, std::string>>();
      if (const auto sum = content.metadata.extract(checksum_key)) check_sum(text, data, sum.mapped());
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
} catch (const json::exception& e) {  // a member lacks, or is of another kind
  throw std::invalid_argument("header: " + json_reason(e));
}

}  // namespace

SafeTensors load_safetensors(const std::string& path) {
  try {
    return parse(read_bytes(path));
  } catch (const std::exception& error) {
    throw std::runtime_error("cannot load " + path + ": " + one_line(error.what()));
  }
}

void save_safetensors(const std::string& path, const SafeTensors& content) {
  json header = {{"__metadata__", content.metadata}};
  header["__metadata__"][checksum_key] = no_digits;
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
  const size_t digits = find_digits(text, no_digits);
  text.replace(digits, no_digits.size(), checksum(text, digits, {pieces.begin() + 2, pieces.end()}));
  const uint64_t length = text.size();
  pieces[0] = {reinterpret_cast<const char*>(&length), sizeof(length)};
  pieces[1] = text;
  write_atomically(path, pieces);
}

}  // namespace difftensor::inline DT_PRECISION
