#include "examples/training/program.h"

#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <new>
#include <numeric>

#include "core/fast_blas.h"
#include "examples/training/loop.h"
#include "examples/training/ranks.h"
#include "examples/training/signals.h"

namespace training {

namespace {

// How many letters must be added, dropped or changed to make one word of the other (Levenshtein).
size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);  // the distances of the first i letters of a to the first j of b
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j)
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])}));
  }
  return row.back();
}

// Whether this option's name has the word, of three letters or more, in it: --epochs for --max-epochs.
bool contains(const std::string& name, const std::string& word) {
  const std::string letters = word.substr(std::min(word.find_first_not_of('-'), word.size()));
  return name.starts_with(word) || (letters.size() >= 3 && name.find(letters) != std::string::npos);
}

// "--atention: unknown; did you mean --attention?", if one of `known` is near or contains it.
std::string unknown(const std::string& word, const std::vector<std::string>& known) {
  std::string nearest;
  size_t least = word.size() / 3 + 2;  // one letter wrong in three, and one more
  for (const std::string& name : known)
    if (const size_t distance = contains(name, word) ? 1 : edit_distance(word, name); distance < least)
      nearest = name, least = distance;
  return word + ": unknown" + (nearest.empty() ? "" : "; did you mean " + nearest + "?");
}

// The program and the subcommands, each of the one before it, that a command line names.
std::vector<const CLI::App*> named_commands(const CLI::App& app) {
  std::vector<const CLI::App*> commands{&app};
  while (!commands.back()->get_subcommands().empty()) commands.push_back(commands.back()->get_subcommands()[0]);
  return commands;
}

// What is wrong with a command line: first of all what we do not know in it, for that may be why something else lacks.
std::string explain(const CLI::App& command, const CLI::ParseError& error) {
  const std::vector<std::string> rest = command.remaining();
  std::vector<std::string> names;
  if (const auto all = command.get_subcommands({}); !all.empty() && !rest.empty() && !rest[0].starts_with('-')) {
    for (const CLI::App* subcommand : all) names.push_back(subcommand->get_name());
    return unknown(rest[0], names);
  }
  for (const CLI::Option* option : command.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  for (const std::string& word : rest)
    if (word.starts_with('-')) return unknown(word.substr(0, word.find('=')), names);
  return error.what();
}

// A standard stream that is closed would give its number to the next file that is opened, and what is printed would end
// up in there: /dev/null takes its place. Returns whether there is a stdout.
bool open_standard_streams() {
  const bool has_stdout = fcntl(STDOUT_FILENO, F_GETFD) != -1;
  int file;
  do file = open("/dev/null", O_RDWR);
  while (file != -1 && file <= STDERR_FILENO);
  if (file != -1) close(file);
  return has_stdout;
}

int fail(const std::string& program, const std::string& message, int status = 2) {
  if (ranks() > 1) end_ranks(status, program + ": " + message);
  std::fprintf(stderr, "%s: %s\n", program.c_str(), message.c_str());
  return status;
}

// More than any memory is asked for, or more than there is.
bool lacks_memory(const std::exception& e) {
  return dynamic_cast<const std::bad_alloc*>(&e) || dynamic_cast<const std::length_error*>(&e);
}
bool lacks_thread(const std::exception& e) {  // for want of memory, too
  const auto* error = dynamic_cast<const std::system_error*>(&e);
  return error && error->code() == std::errc::resource_unavailable_try_again;
}

// What an exception says, and what to do about it.
int fail(const char* program, const std::exception& e) {
  const char* what =
      lacks_memory(e) ? "out of memory: a smaller model, vocabulary, batch or beam needs less" : e.what();
  const char* why = lacks_thread(e) ? "; memory or processes are limited (ulimit -v, ulimit -u)" : "";
  if (ranks() > 1) end_ranks(2, std::string(program) + ": " + what + why);
  std::fprintf(stderr, "%s: %s%s\n", program, what, why);  // without any memory
  return 2;
}

// Ends the program in the middle, with the same line and code as elsewhere: for an exception in a thread that a library
// started, which nobody can catch, and where memory is out. (Returning from main(), OpenBLAS waits for its threads;
// they look for memory for ever.)
const char* program_name = "";
[[noreturn]] void say_and_end() {
  static std::atomic_flag said;
  if (const auto error = std::current_exception(); error && !said.test_and_set()) try {
      std::rethrow_exception(error);
    } catch (const std::exception& e) {
      fail(program_name, e);
    } catch (...) {  // nothing that could be said
    }
  std::fflush(stdout);
  _exit(2);
}

int parse(CLI::App& app, int argc, char** argv) {
  const std::string& name = app.get_name();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help
    std::string words;
    const auto commands = named_commands(app);
    for (const CLI::App* command : commands) words += command->get_name() + " ";
    return fail(name, explain(*commands.back(), e) + " (" + words + "--help lists the options)");
  } catch (const Interrupted& e) {
    if (rank() == 0)
      std::printf("stopped by %s %s; go on with: %s %s\n", e.signal == SIGINT ? "SIGINT" : "SIGTERM", e.done.c_str(),
                  name.c_str(), e.go_on.c_str());
    std::fflush(stdout);
    return 128 + e.signal;
  } catch (const Astray& e) {
    return fail(name, e.what(), astray_status);
  } catch (const std::filesystem::filesystem_error& e) {
    return fail(name, e.path1().string() + ": " + e.code().message());
  } catch (const std::exception& e) {
    if (lacks_memory(e) || lacks_thread(e)) say_and_end();
    return fail(name.c_str(), e);
  }
  return 0;
}

}  // namespace

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  std::string name = "unknown";
  for (std::string line; std::getline(info, line) && !line.empty();) {  // of the first core
    const auto has = [&](const char* flag) { return line.find(flag) != std::string::npos; };
    if (line.starts_with("model name")) name = line.substr(line.find(':') + 2);
    if (line.starts_with("flags")) name += has(" avx512f") ? ", AVX-512" : has(" avx2") ? ", AVX2" : "";
  }
  return name;
}

int run_program(int argc, char** argv, const std::string& name, const std::string& description,
                const std::function<void(CLI::App&)>& add_commands) {
  program_name = name.c_str();
  std::set_terminate(say_and_end);
  if (!open_standard_streams()) return fail(name, "stdout: is closed");
  // Past a limit on the size of files, writing is to fail with a message as on a full disk, not to kill.
  std::signal(SIGXFSZ, SIG_IGN);
  std::ios::sync_with_stdio(false);  // or std::cin takes a read error for the end of the input
  difftensor::ensure_fast_blas(argv);
  const RanksJoined joined(argc, argv);
  if (ranks() > 1 && (argc < 2 || std::string(argv[1]) != "train"))
    return fail(name, "only train can be shared out among processes: start the other commands without mpirun");
  CLI::App app(description, name);
  app.require_subcommand(1);
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);  // --lr 1 --lr 2: the last counts
  app.footer("Each subcommand has its own help: " + name + " train --help");
  add_commands(app);
  const int status = parse(app, argc, argv);
  // Some disks say only when a file is closed that they are full.
  if (status == 0 && (!std::cout.flush() || std::fflush(stdout) != 0 || std::ferror(stdout) ||
                      (::close(STDOUT_FILENO) != 0 && errno != EINTR)))
    return fail(name, std::string("stdout: cannot write: ") + std::strerror(errno));
  return status;
}

}  // namespace training
