#pragma once
// What tests of the examples share: a directory for a test's files, and the errors that users see.
#include "examples/text/files.h"
#include "tests/testing.h"

// A directory for one test's files.
class TemporaryDirectory {
 public:
  std::string path(const std::string& name) const { return (folder_.path / name).string(); }
  std::string write(const std::string& name, const std::string& bytes) const {
    text::write_file(path(name), bytes);
    return path(name);
  }

 private:
  TemporaryFolder folder_;
};

// The message of the InputError that `f` throws, without the directory.
template <class F>
std::string input_error(const TemporaryDirectory& directory, F f) {
  try {
    f();
  } catch (const text::InputError& error) {
    std::string message = error.what();
    for (size_t at; (at = message.find(directory.path(""))) != std::string::npos;)
      message.erase(at, directory.path("").size());
    return message;
  }
  return "no error";
}
