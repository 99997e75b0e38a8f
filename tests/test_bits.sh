#!/usr/bin/env bash
# Bits depend on a row's own values, whatever instructions a compiler chose: tests/test_bits.cpp and the kernels' tests,
# built for several CPUs by each compiler that is here, and run if this CPU has what they use.
# usage: tests/test_bits.sh BUILD_DIR
set -u
cd "$(dirname "$0")/.."
build=$1 failed=0
log=$(mktemp) && trap 'rm -f "$log"' EXIT
export OMP_WAIT_POLICY=passive
# Without underscores a compiler's __AVX512VBMI2__ and the kernel's avx512_vbmi2 are one name.
have=$(sed -n 's/^flags[^:]*: //p' /proc/cpuinfo | head -1 | tr -d _ | tr ' ' '\n')

knows() { "$compiler" "-march=$@" -dM -E -x c++ /dev/null 2>/dev/null; }

for compiler in g++ clang++; do
  command -v "$compiler" >/dev/null || { echo "bits: $compiler is not here"; continue; }
  for cpu in x86-64-v3 haswell znver3 znver4 sapphirerapids; do
    what="bits: $compiler for $cpu"
    arch=$cpu
    # A compiler older than Zen 4 can still build for Zen 3 with the instructions that came with it.
    [ $cpu = znver4 ] && ! knows znver4 >/dev/null && arch="znver3 -mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx512vnni"
    macros=$(knows $arch) || { echo "$what: this compiler does not know that CPU"; continue; }
    tests=$build/bits/$compiler-$cpu/tests_bits
    make -s -j"$(nproc)" CXX="$(command -v ccache) $compiler" ARCH="$arch" BUILD="${tests%/*}" "$tests" >"$log" 2>&1 ||
      { echo "$what: FAILED to build" >&2; tail -20 "$log" >&2; failed=1; continue; }
    needs=$(grep -oE '__(AVX[0-9A-Z]*|FMA|BMI2?|F16C|GFNI|VAES|AMX_[A-Z0-9]*)__' <<<"$macros" | tr -d _ | tr A-Z a-z | sed 's|^bmi$|bmi1|' | sort -u)
    if lacks=$(grep -vxF "$have" <<<"$needs"); then
      echo "$what: compiled, not run: this CPU lacks" $lacks
    elif "$tests" >"$log" 2>&1; then
      echo "$what: ok," "$(grep -oE '[0-9]+ passed' "$log" | tail -1)"
    else
      echo "$what: FAILED" >&2; tail -40 "$log" >&2; failed=1
    fi
  done
done
exit $failed
