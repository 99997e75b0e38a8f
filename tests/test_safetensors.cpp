// Files: what is written is read back, what is broken is refused, and a failed write harms nothing.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "core/crc32.h"
#include "core/files.h"
#include "core/safetensors.h"
#include "tests/testing.h"

using namespace difftensor;
namespace fs = std::filesystem;

namespace {
// A file of this header and data, whatever they are.
void write_raw(const std::string& path, const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(&length), sizeof(length)) << header << data;
}

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

std::string load_error(const std::string& path) {
  try {
    load_safetensors(path);
  } catch (const std::runtime_error& e) {
    return e.what();
  }
  return "no error";
}
std::string save_error(const std::string& path, const SafeTensors& content) {
  try {
    save_safetensors(path, content);
  } catch (const std::runtime_error& e) {
    return e.what();
  }
  return "no error";
}
}  // namespace

TEST_CASE("safetensors: a round trip") {
  TemporaryFolder folder;
  const std::string path = folder / "x.safetensors";
  SafeTensors out;
  out.tensors = {{"matrix", tensor({1, -2, Scalar(0.1), INFINITY, 0, Scalar(1e-30)}, {2, 3})},
                 {"scalar", scalar(7)},
                 {"empty", zeros({0, 4})}};
  out.integers = {{"ids", {{1, -5, int64_t{1} << 40}, {3, 1}}},
                  {"small", {{1, -5, INT32_MAX}, {3}, "I32"}},
                  {"one", {{7}, {}}},
                  {"none", {{}, {2, 0}}}};
  out.metadata = {{"style", "llama"}, {"a \"quoted\"\nkey", "Größe \\ \x01"}};
  save_safetensors(path, out);

  const SafeTensors in = load_safetensors(path);
  REQUIRE(in.tensors.size() == 3);
  for (auto& entry : out.tensors) {
    const std::string& name = entry.first;
    CAPTURE(name);
    CHECK(in.tensors.at(name).shape() == entry.second.shape());
    CHECK(in.tensors.at(name).values() == entry.second.values());
  }
  CHECK(in.integers == out.integers);
  CHECK(in.metadata == out.metadata);
  CHECK_FALSE(fs::exists(path + ".tmp"));

  save_safetensors(path, {});
  CHECK(load_safetensors(path).tensors.empty());
}

TEST_CASE("safetensors: every dtype is read, and data is aligned when written") {
  TemporaryFolder folder;
  const std::string path = folder / "x.safetensors";
  write_raw(
      path,
      R"({"a":{"dtype":"I64","shape":[1],"data_offsets":[16,24]},
                "b":{"dtype":"F32","shape":[2],"data_offsets":[8,16]},
                "c":{"dtype":"F64","shape":[],"data_offsets":[0,8]},
                "d":{"dtype":"I32","shape":[1,2],"data_offsets":[24,32]}})",
      bytes_of<double>({0.1}) + bytes_of<float>({1.5f, -2.f}) + bytes_of<int64_t>({-3}) + bytes_of<int32_t>({-4, 5}));
  SafeTensors file = load_safetensors(path);
  CHECK(file.integers == std::map<std::string, Integers>{{"a", {{-3}, {1}}}, {"d", {{-4, 5}, {1, 2}, "I32"}}});
  CHECK(file.tensors.at("b").values() == std::vector<Scalar>{1.5, -2});
  CHECK(file.tensors.at("c").item() == Scalar(0.1));
  CHECK(file.tensors.at("c").shape() == Shape{});

  for (const char* name : {"", "x", "xx", "xxx"}) {  // headers of different lengths
    file.metadata["name"] = name;
    save_safetensors(path, file);
    uint64_t length;
    std::ifstream(path, std::ios::binary).read(reinterpret_cast<char*>(&length), sizeof(length));
    CHECK(length % 8 == 0);
  }
}

TEST_CASE("safetensors: PyTorch's golden files") {
  const SafeTensors file = load_safetensors("tests/golden/diff-llama.safetensors");
  CHECK(file.metadata.at("attention") == "diff");
  CHECK(file.integers.at("in.src_lengths") == Integers{{5, 3, 7}, {3}});
  CHECK(file.tensors.at("out.losses").shape() == Shape{10});
}

TEST_CASE("safetensors: broken files are refused in one line that names them") {
  TemporaryFolder folder;
  const std::string path = folder / "broken.safetensors";
  const auto check = [&](const std::string& expected) {
    const std::string error = load_error(path);
    CAPTURE(error);
    CHECK(error.starts_with("cannot load " + path + ": "));
    CHECK(error.find(expected) != std::string::npos);
    CHECK(error.find('\n') == std::string::npos);
  };

  check("No such file or directory");
  fs::create_directory(path);
  check("Is a directory");
  fs::remove(path);
  std::ofstream(path).close();
  check("the file has only 0 bytes");
  std::ofstream(path) << "1234567";
  check("the file has only 7 bytes");
  std::ofstream(path) << std::string(8, '\xff') << "{}";
  check("header: 18446744073709551615 bytes long, in a file of 10");

  // A whole file of which ever less is left.
  save_safetensors(path, {{{"x", ones({3})}, {"y", ones({2, 2})}}, {{"i", {{1}, {1}}}}, {{"a", "b"}}});
  for (auto size = fs::file_size(path); size-- > 0;) {
    fs::resize_file(path, size);
    REQUIRE(load_error(path).starts_with("cannot load " + path));
  }

  struct Case {
    const char *header, *expected;
    int bytes = 8;  // of data
  };
  for (const Case& c : std::initializer_list<Case>{
           {"", "parse error"},
           {"{", "parse error"},
           {"{}}", "parse error"},
           {"\xff", "parse error"},
           {"{\"\xff\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", "parse error"},
           {"[]", "not a JSON object"},
           {"3", "not a JSON object"},
           {R"({"x":3})", "cannot use at() with number"},
           {R"({"x":null})", "header: cannot use at() with null"},
           {R"({"__metadata__":{"a":null},"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
            "header: type must be string"},
           {R"({"x":{"shape":[2],"data_offsets":[0,8]}})", "'dtype' not found"},
           {R"({"x":{"dtype":"F32","data_offsets":[0,8]}})", "'shape' not found"},
           {R"({"x":{"dtype":"F32","shape":[2]}})", "'data_offsets' not found"},
           {R"({"x":{"dtype":1,"shape":[2],"data_offsets":[0,8]}})", "type must be string"},
           {R"({"x":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]}})", "x: dtype BF16 is none of"},
           {R"({"x":{"dtype":"F32","shape":2,"data_offsets":[0,8]}})", "x: shape and data_offsets must be"},
           {R"({"x":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", "x: shape and data_offsets must be"},
           {R"({"x":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", "x: shape and data_offsets must be"},
           {R"({"x":{"dtype":"F32","shape":[true],"data_offsets":[0,8]}})", "x: shape and data_offsets must be"},
           {R"({"x":{"dtype":"F32","shape":[1e30],"data_offsets":[0,8]}})", "x: shape and data_offsets must be"},
           {R"({"x":{"dtype":"F32","shape":[2],"data_offsets":{"a":0,"b":8}}})", "x: shape and data_offsets must be"},
           {R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,4,8]}})", "x: data_offsets are not a range of the 8"},
           {R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", "x: data_offsets are not a range of the 8"},
           {R"({"x":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}})", "x: data_offsets are not a range of the 8"},
           {R"({"x":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", "x: its shape needs another number of bytes"},
           {R"({"x":{"dtype":"F64","shape":[2],"data_offsets":[0,8]}})", "x: its shape needs another number of bytes"},
           // 4 * 2^63 is 0 in 64 bits, and so is 4 (2^62 + 2) 8
           {R"({"x":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,0]}})", "x: its shape needs"},
           {R"({"x":{"dtype":"F32","shape":[4611686018427387906],"data_offsets":[0,8]}})", "x: its shape needs"},
           {R"({"x":{"dtype":"F32","shape":[0,9223372036854775808],"data_offsets":[0,0]}})", "Shape: negative size", 0},
           {R"({"x":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]}})", "Shape: more than 8 axes"},
           {R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", "x: its data begins at byte 4"},
           {R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
                "y":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
            "y: its data begins at byte 4, but what comes before ends at 8"},
           {R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
                "y":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})",
            "y: its data begins at byte 8, but what comes before ends at 4", 12},
           {R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "data: 1 bytes at the end belong to no", 9},
           {"{}", "data: 8 bytes at the end"},
           {R"({"__metadata__":{"a":1}})", "type must be string"},
           {R"({"__metadata__":"a"})", "type must be object"}}) {
    CAPTURE(std::string(c.header));
    write_raw(path, c.header, std::string(c.bytes, '\0'));
    check(c.expected);
  }
  const std::string deep(1000000, '[');  // must not exhaust the stack
  write_raw(path, deep, "");
  check("header: not JSON that is read here: more than 64 levels");
}

TEST_CASE("crc32 is that of zip, whole or in parts") {
  CHECK(crc32("") == 0);
  CHECK(crc32("123456789") == 0xcbf43926);  // the "check" of every catalogue of CRCs
  CHECK(crc32(std::string(40, '\xff')) == 0x8cd04c73);
  std::string text;
  for (int i = 0; i < 100; ++i) text += static_cast<char>(i * i);
  CHECK(crc32(text) == 0x23baa30d);
  for (size_t i = 0; i <= text.size(); ++i)
    CHECK(crc32(std::string_view(text).substr(i), crc32(std::string_view(text).substr(0, i))) == crc32(text));
}

TEST_CASE("safetensors: every flipped bit is noticed, or harms nothing") {
  TemporaryFolder folder;
  const std::string path = folder / "x.safetensors";
  const SafeTensors content{
      {{"x", tensor({1, 2, 3}, {3})}, {"y", ones({2, 2})}}, {{"i", {{1}, {1}}}}, {{"update", "48"}}};
  save_safetensors(path, content);
  const std::string whole = read_bytes(path);
  int harmless = 0;
  for (size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    CAPTURE(bit);
    std::string flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ 1 << bit % 8);
    std::ofstream(path, std::ios::binary) << flipped;
    try {
      const SafeTensors in = load_safetensors(path);
      // Only the name of the checksum may have become another.
      ++harmless;
      REQUIRE(in.metadata.size() == 2);
      REQUIRE(in.metadata.at("update") == "48");
      REQUIRE(in.integers == content.integers);
      REQUIRE(in.tensors.size() == 2);
      for (auto& [name, tensor] : content.tensors) REQUIRE(in.tensors.at(name).values() == tensor.values());
    } catch (const std::runtime_error& error) {
      REQUIRE(std::string(error.what()).starts_with("cannot load " + path + ": "));
    }
  }
  CHECK(harmless <= 5 * 8);

  // A file of another program, which has no checksum.
  const size_t at = whole.find("\"crc32\"");
  std::ofstream(path, std::ios::binary) << std::string(whole).replace(at, 7, "\"other\"");
  CHECK(load_safetensors(path).metadata.contains("other"));
  // Digits that are none.
  std::ofstream(path, std::ios::binary) << std::string(whole).replace(at + 9, 8, "        ");
  CHECK(contains(load_error(path), "the file is damaged: its bytes are not those that its checksum was made of"));
}

TEST_CASE("many processes may make one folder at once") {
  const TemporaryFolder folder;
  for (int round = 0; round < 20; ++round) {
    const std::string path = folder.path / std::to_string(round) / "a/b";
    int start[2];
    REQUIRE(pipe(start) == 0);
    std::vector<pid_t> children;
    for (int i = 0; i < 4; ++i) {
      children.push_back(fork());
      if (children.back() != 0) continue;
      char byte;
      close(start[1]);
      if (read(start[0], &byte, 1) != 0) _exit(2);  // all begin when the pipe is closed
      try {
        make_folder(path);
      } catch (...) {
        _exit(1);
      }
      _exit(0);
    }
    close(start[0]), close(start[1]);
    for (const pid_t child : children) {
      int status = -1;
      waitpid(child, &status, 0);
      CHECK(status == 0);
    }
    CHECK(fs::is_directory(path));
  }
}

TEST_CASE("safetensors: a name may stand for one thing only") {
  TemporaryFolder folder;
  const std::string path = folder / "x.safetensors";
  CHECK_THROWS_AS(save_safetensors(path, {{{"x", ones({1})}}, {{"x", {{1}, {1}}}}, {}}), std::invalid_argument);
  CHECK_THROWS_AS(save_safetensors(path, {{{"__metadata__", ones({1})}}, {}, {}}), std::invalid_argument);
  CHECK_FALSE(fs::exists(path));
}

TEST_CASE("safetensors: what cannot be written as it is, is refused") {
  TemporaryFolder folder;
  const std::string path = folder / "x.safetensors";
  const auto refused = [&](const SafeTensors& content) {
    const std::string error = error_of([&] { save_safetensors(path, content); });
    CHECK_FALSE(fs::exists(path));
    return error;
  };
  CHECK(refused({{{"a\xff", ones({1})}}, {}, {}}) == "save_safetensors: the name \"a\ufffd\" is not UTF-8");
  CHECK(refused({{}, {{"x", {{1, 2}, {3}}}}, {}}) == "save_safetensors: x: 2 integers for shape (3,)");
  CHECK(refused({{}, {{"x", {{1}, {1}, "I8"}}}, {}}) == "save_safetensors: x: dtype I8 is neither I32 nor I64");
  CHECK(refused({{}, {{"x", {{int64_t{1} << 31}, {1}, "I32"}}}, {}}) ==
        "save_safetensors: x: 2147483648 does not fit I32");
}

TEST_CASE("safetensors: a failed write says why and leaves the earlier file") {
  TemporaryFolder folder;
  const std::string path = folder / "x.safetensors";
  const SafeTensors old{{{"x", full({2}, 1)}}, {}, {}}, big{{{"x", full({100000}, 2)}}, {}, {}};
  save_safetensors(path, old);

  SUBCASE("full disk") {
    fs::create_symlink("/dev/full", path + ".tmp");
    CHECK(save_error(path, big) == "cannot write " + path + ": No space left on device");
  }
  SUBCASE("a folder is in the way") {
    fs::create_directory(path + ".tmp");
    CHECK(save_error(path, big) == "cannot write " + path + ": Is a directory");
    CHECK(fs::remove(path + ".tmp"));  // not ours to remove
  }
  CHECK(load_safetensors(path).tensors.at("x").values() == std::vector<Scalar>{1, 1});
  CHECK_FALSE(fs::exists(path + ".tmp"));

  CHECK(save_error(folder / "none/x.safetensors", old) ==
        "cannot write " + folder / "none/x.safetensors" + ": No such file or directory");
}

TEST_CASE("safetensors: a link is followed, whether its target is there or not") {
  TemporaryFolder folder;
  fs::create_symlink("target", folder / "link");
  for (const Scalar value : {1, 2}) {
    save_safetensors(folder / "link", {{{"x", full({1}, value)}}, {}, {}});
    CHECK(fs::is_symlink(folder / "link"));
    CHECK(load_safetensors(folder / "target").tensors.at("x").item() == value);
  }
}

TEST_CASE("safetensors: a kill while writing leaves a whole file") {
  TemporaryFolder folder;
  const std::string path = folder / "x.safetensors";
  const auto content = [](int version) {
    return SafeTensors{{{"x", full({300000}, static_cast<Scalar>(version))}}, {}, {}};
  };
  save_safetensors(path, content(0));
  for (int milliseconds = 1; milliseconds <= 20; ++milliseconds) {
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0)
      for (int version = 0;; ++version) save_safetensors(path, content(version));
    usleep(milliseconds * 1000);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    const Tensor x = load_safetensors(path).tensors.at("x");
    REQUIRE(x.numel() == 300000);
    CHECK(x.values() == std::vector<Scalar>(300000, x.data()[0]));
  }
}
