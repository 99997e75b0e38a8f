#pragma once
// What every program of examples/ has around its subcommands: errors in one line, exit codes, streams, fast kernels.
#include <functional>
#include <string>

namespace CLI {
class App;
}

namespace training {

/// The exit code of a training that went astray (loop.h).
constexpr int astray_status = 3;

/// Runs the command line of a program whose subcommands `add_commands` makes. Returns the exit code: 0; 2 after one line
/// on stderr that says what is wrong; astray_status after the same line of a training that went astray; 128 + the
/// signal after an interrupted one, saying how to go on.
int run_program(int argc, char** argv, const std::string& name, const std::string& description,
                const std::function<void(CLI::App&)>& add_commands);

/// The CPU's name, as Linux tells it, and how wide its registers are: "AMD EPYC, AVX2". (In a virtual machine the name
/// may be the maker's only.) Results have the same bits on CPUs of one kind.
std::string cpu_name();

/// The subcommand `compare`: runs side by side, in a table and a picture.
void add_compare_command(CLI::App& app);

}  // namespace training
