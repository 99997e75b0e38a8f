#!/usr/bin/env bash
# `make install`: a program of somebody else's builds against what it installed, with what pkg-config says, and runs.
# usage: tests/test_install.sh BUILD_DIR
set -eu
build=$(realpath "$1")
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# For a package: everything goes under DESTDIR, and nothing says so.
make -s install BUILD="$build" DESTDIR="$dir/stage" PREFIX=/opt/difftensor >/dev/null
grep -qx 'prefix=/opt/difftensor' "$dir/stage/opt/difftensor/lib/pkgconfig/difftensor.pc"
[ "$(ls "$dir/stage")" = opt ]

# For use: every header can be included, and one program can use the parts.
make -s install BUILD="$build" DESTDIR= PREFIX="$dir/prefix" >/dev/null
cd "$dir"
(cd prefix/include/difftensor && find . -name '*.h' -printf '#include "%P"\n' | sort) >program.cpp
cat >>program.cpp <<'END'
#include <iostream>

using namespace difftensor;

int main() {
  Random random(1);
  nn::Linear layer(3, 2, true, random);
  optim::AdamW optimizer({{layer.parameters()}}, 0.1);
  Tensor loss = sum(layer(ones({4, 3})));
  loss.backward();
  optimizer.step();
  std::cout << layer.bias.grad() << "\n";
}
END
export PKG_CONFIG_PATH="$dir/prefix/lib/pkgconfig"
${CXX:-g++} -O0 -Wall -Werror program.cpp -o program $(pkg-config --cflags --libs difftensor)
printed=$(./program)
[ "$printed" = "[       4        4] shape (2,)" ] || { echo "FAILED: the installed program printed $printed" >&2; exit 1; }
echo "make install: ok"
