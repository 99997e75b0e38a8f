#!/usr/bin/env bash
# `make install`: programs of somebody else's build against what it installed, by pkg-config and by CMake, and run.
# usage: tests/test_install.sh BUILD_DIR
set -eu
build=$(realpath "$1")
cd "$(dirname "$0")/.."
project=$PWD
compiler=${CXX:-g++}  # perhaps with a ccache before it
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }
checks=0
same() { [ "$1" = "$2" ] && checks=$((checks + 1)) || fail "$3 printed $1, not $2"; }

# For a package: everything goes under DESTDIR, and nothing says so.
make -s install BUILD="$build" DESTDIR="$dir/stage" PREFIX=/opt/difftensor >/dev/null
grep -qx 'prefix=/opt/difftensor' "$dir/stage/opt/difftensor/lib/pkgconfig/difftensor.pc"
same "$(ls "$dir/stage")" opt "the folder of a package"

# Every header can be included, by its name here and by its name with difftensor/ before it.
prefix=$dir/prefix
make -s install BUILD="$build" DESTDIR= PREFIX="$prefix" >/dev/null
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig"
cd "$dir"
(cd "$prefix/include" && find difftensor -name '*.h' | sort) | while read -r header; do
  printf '#include "%s"\n#include <%s>\n' "${header#difftensor/}" "$header"
done >headers.cpp
[ "$(wc -l <headers.cpp)" -gt 80 ] || fail "few headers are installed"
$compiler -std=c++20 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Werror \
  -fsyntax-only headers.cpp $(pkg-config --cflags difftensor)
checks=$((checks + 1))

# What is inline has the library's bits.
case " $(pkg-config --cflags difftensor) " in *" -ffp-contract=off "*) ;; *) fail "pkg-config has no -ffp-contract=off" ;; esac
checks=$((checks + 1))

# The page's program, in an empty folder, by the page's commands: in float and in double, as C++20 and C++23.
block() { awk -v tag="<!-- $1 -->" '$0 == tag { on = 1; next } on && /^```/ { if (inside) exit; inside = 1; next } on && inside' "$project/core/README.md"; }
block "a program" >program.cpp
block "CMakeLists.txt" >CMakeLists.txt
[ -s program.cpp ] && [ -s CMakeLists.txt ] || fail "core/README.md has no program, or no CMakeLists.txt"
expected="[      12       15       18] shape (3,)"
for standard in c++20 c++23; do
  for package in difftensor difftensor_f64; do
    $compiler -std=$standard -O0 -Wall -Wextra -Werror program.cpp -o program $(pkg-config --cflags --libs $package)
    same "$(./program)" "$expected" "the program with $package as $standard"
  done
done
if command -v cmake >/dev/null; then
  cmake -S . -B cmake -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_CXX_COMPILER="$(command -v "${compiler##* }")" >cmake.log 2>&1 ||
    { cat cmake.log >&2; fail "cmake"; }
  grep -rqs -e -ffp-contract=off cmake/CMakeFiles/program.dir || fail "the CMake target has no -ffp-contract=off"
  cmake --build cmake >>cmake.log 2>&1 || { cat cmake.log >&2; fail "cmake --build"; }
  same "$(./cmake/program)" "$expected" "the program by CMake"
else
  echo "make install: CMake is not here; its package was not tried"
fi

# examples/layers and its tests, from outside, in double.
mkdir -p outside/examples outside/tests
cp -r "$project/examples/layers" outside/examples/
cp "$project"/tests/{main.cpp,test_layers.cpp,testing.h} outside/tests/
(cd outside && $compiler -std=c++20 -O0 -I. tests/main.cpp tests/test_layers.cpp -o layers \
  $(pkg-config --cflags --libs difftensor_f64))
outside/layers >layers.log || { cat layers.log >&2; fail "examples/layers against the installed library"; }
checks=$((checks + 1))

# Nothing is left, and nothing else is gone.
touch "$prefix/lib/other.a"
make -s -C "$project" uninstall DESTDIR= PREFIX="$prefix"
same "$(cd "$prefix" && find . -type f)" ./lib/other.a "what is left"
echo "make install: $checks checks passed"
