#pragma once
// Files that are whole whatever happens. After a full disk, a failing disk, a kill or a power failure at any moment there
// is the earlier file or the new one. All files are written here, and a system call that a signal interrupted (EINTR) is
// made again.
#include <string>
#include <string_view>
#include <vector>

#include "core/base.h"

namespace difftensor::inline DT_PRECISION {

/// All that can be read there: a file, a pipe. Throws std::system_error: "cannot open: No such file or directory".
std::string read_bytes(const std::string& path);

/// Writes the pieces, one after the other, into `path`.tmp; sees to it that they are on disk; gives them their name; and
/// sees to it that this is on disk too. (What `path`.tmp held is lost.) A link is followed; the
/// permissions of a file that is replaced are kept; a device, a pipe and what is open already (/dev/stdout) are written
/// to. Throws std::system_error naming the file and the system's reason.
void write_atomically(const std::string& path, const std::vector<std::string_view>& pieces);

/// Makes a folder, with those above it, and has their names on disk. One that is there stays. Throws as write_atomically
/// does.
void make_folder(const std::string& path);

/// The names of what a folder holds, in the order of the alphabet. Throws std::system_error naming the folder.
std::vector<std::string> list_folder(const std::string& path);

/// Removes a file. One that is not there is no error. Throws as write_atomically does.
void remove_file(const std::string& path);

/// Writes all bytes to an open file. Throws std::system_error that begins with `what`.
void write_all(int file, std::string_view bytes, const std::string& what);

/// An open file. Each call throws std::system_error that begins with `what`, such as "cannot write runs/a/log.csv".
class File {
 public:
  /// `flags` are those of open(2).
  File(const std::string& path, int flags, const std::string& what);
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  /// The system has the bytes then: they survive this process, but not a power failure.
  void write(std::string_view bytes) { write_all(file_, bytes, what_); }
  /// All of it is on disk then.
  void sync();
  /// A disk may tell only here that it could not write. The destructor cannot tell.
  void close();

  int descriptor() const { return file_; }

 private:
  int file_;
  const std::string what_;
};

}  // namespace difftensor::inline DT_PRECISION
