#include "core/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

namespace difftensor::inline DT_PRECISION {
namespace {
namespace fs = std::filesystem;

[[noreturn]] void fail(const std::string& what) { throw std::system_error(errno, std::generic_category(), what); }

// The result of a system call, made again for as long as a signal interrupts it. Throws if it fails.
template <class Call>
auto checked(const std::string& what, Call call) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  if (result == -1) fail(what);
  return result;
}

// What was renamed, made or removed in a folder is on disk when the folder is.
void sync_folder(const fs::path& path, const std::string& what) {
  try {
    File folder(path.empty() ? "." : path.string(), O_RDONLY | O_DIRECTORY, what);
    folder.sync();
    folder.close();
  } catch (const std::system_error& error) {
    // Some file systems cannot do it (EINVAL), and some folders may be written to, but not read (EACCES).
    if (error.code().value() != EINVAL && error.code().value() != EACCES) throw;
  }
}

// What a path leads to: a file, or one that this process has open, as /dev/stdout and /dev/fd/3 do.
struct Target {
  fs::path path;
  int open = -1;  // its number then
};
Target follow(fs::path path) {
  std::error_code none;
  const fs::path own = fs::canonical("/proc/self/fd", none);
  for (int links = 0; links < 40 && fs::is_symlink(path, none); ++links) {
    if (!own.empty() && fs::canonical(path.parent_path(), none) == own) return {path, std::stoi(path.filename())};
    path = path.parent_path() / fs::read_symlink(path, none);
  }
  return {path};
}

// In blocks: a model has many tensors of a few bytes.
template <class Write>
void write_pieces(const std::vector<std::string_view>& pieces, Write write) {
  constexpr size_t block_size = 1 << 20;
  std::string block;
  for (const std::string_view piece : pieces) {
    if (block.size() + piece.size() > block_size) write(std::exchange(block, {}));
    if (piece.size() > block_size)
      write(piece);
    else
      block += piece;
  }
  write(block);
}

}  // namespace

File::File(const std::string& path, int flags, const std::string& what)
    : file_(checked(what, [&] { return ::open(path.c_str(), flags | O_CLOEXEC, 0666); })), what_(what) {}

File::~File() {
  if (file_ != -1) ::close(file_);
}

void File::sync() {
  checked(what_, [&] { return ::fsync(file_); });
}

void File::close() {
  // After EINTR the file is closed all the same (close(2) on Linux), and its number may be another file's by now.
  if (::close(std::exchange(file_, -1)) == -1 && errno != EINTR) fail(what_);
}

void write_all(int file, std::string_view bytes, const std::string& what) {
  while (!bytes.empty())  // a signal, or a disk that is nearly full, may leave a part to be written
    bytes.remove_prefix(checked(what, [&] { return ::write(file, bytes.data(), bytes.size()); }));
}

std::string read_bytes(const std::string& path) {
  const File in(path, O_RDONLY, "cannot open");
  // The size is a hint: a pipe has none, and a file may grow. One byte more lets the last read find the end.
  struct stat status;
  std::string bytes;
  bytes.resize(fstat(in.descriptor(), &status) == 0 && status.st_size > 0 ? status.st_size + 1 : 1 << 16);
  for (size_t filled = 0;;) {
    const auto count =
        checked("cannot read", [&] { return ::read(in.descriptor(), &bytes[filled], bytes.size() - filled); });
    filled += count;
    if (count == 0) bytes.resize(filled);
    if (count == 0) return bytes;
    if (filled == bytes.size()) bytes.resize(2 * filled);
  }
}

void write_atomically(const std::string& path, const std::vector<std::string_view>& pieces) {
  const std::string what = "cannot write " + path;
  std::error_code none;
  // What is open already goes on where it is: the file behind a redirected /dev/stdout must not be replaced.
  const Target to = follow(path);
  if (to.open != -1) {
    std::fflush(nullptr);
    return write_pieces(pieces, [&](std::string_view bytes) { write_all(to.open, bytes, what); });
  }
  // What is there and no plain file (/dev/null, a pipe) is written to, not replaced.
  if (fs::exists(path, none) && !fs::is_regular_file(path, none)) {
    File file(path, O_WRONLY, what);
    write_pieces(pieces, [&](std::string_view bytes) { file.write(bytes); });
    return file.close();
  }
  const std::string written = to.path.string() + ".tmp";
  File file(written, O_WRONLY | O_CREAT | O_TRUNC, what);
  try {
    struct stat before;  // who may read the file that is there may read the new one, and nobody else
    if (::stat(to.path.c_str(), &before) == 0)
      checked(what, [&] { return ::fchmod(file.descriptor(), before.st_mode & 07777); });
    write_pieces(pieces, [&](std::string_view bytes) { file.write(bytes); });
    file.sync();  // before it gets its name: or a power failure could leave the name with no content
    file.close();
    checked(what, [&] { return std::rename(written.c_str(), to.path.c_str()); });
  } catch (...) {
    std::remove(written.c_str());
    throw;
  }
  sync_folder(to.path.parent_path(), what);
}

void make_folder(const std::string& path) {
  const std::string what = "cannot make " + path;
  const fs::path above = fs::path(path).parent_path();
  std::error_code none;
  if (!above.empty() && !fs::exists(above, none)) make_folder(above);
  if (fs::is_directory(path, none)) return;  // "a/" is there when a is
  checked(what, [&] {
    // Another process may make it at this moment.
    return ::mkdir(path.c_str(), 0777) == 0 || (errno == EEXIST && fs::is_directory(path, none)) ? 0 : -1;
  });
  sync_folder(above, what);
}

std::vector<std::string> list_folder(const std::string& path) {
  std::error_code error;
  fs::directory_iterator entries(path, error);
  while (error == std::errc::interrupted) entries = fs::directory_iterator(path, error);
  std::vector<std::string> names;
  for (; !error && entries != fs::directory_iterator(); entries.increment(error))
    names.push_back(entries->path().filename());
  if (error) throw std::system_error(error, "cannot read " + path);
  std::sort(names.begin(), names.end());
  return names;
}

void remove_file(const std::string& path) {
  checked("cannot remove " + path, [&] { return std::remove(path.c_str()) == -1 && errno != ENOENT ? -1 : 0; });
}

}  // namespace difftensor::inline DT_PRECISION
