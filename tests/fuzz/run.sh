#!/usr/bin/env bash
# Runs every fuzzer of a build for so many seconds, or so many executions; prints a line for each.
# usage: tests/fuzz/run.sh BUILD_DIR    with FUZZ_SECONDS=60 or FUZZ_RUNS=100000, and FUZZ=unicode for one of them;
#        JOBS=2 of them at a time
set -u
cd "$(dirname "$0")/../.."
build=$1
if [ -n "${FUZZ_RUNS:-}" ]; then limit=-runs=$FUZZ_RUNS; else limit=-max_total_time=${FUZZ_SECONDS:-10}; fi
# The fuzzers' files: in memory if that can be.
TMPDIR=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo /tmp)/fuzz-XXXXXX") && export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
export OMP_NUM_THREADS=1 LLVM_PROFILE_FILE=/dev/null build limit

run() {
  seeds=tests/fuzz/corpus/$1 log=$build/$1.log
  mkdir -p "$build/corpus/$1"
  # Found inputs are kept in the build, as the next run's seeds; those in the repository stay as they are.
  "$build/fuzz_$1" "$limit" -max_len=4096 -timeout=10 -malloc_limit_mb=64 -rss_limit_mb=2048 -print_final_stats=1 \
    -dict=tests/fuzz/words.dict -artifact_prefix="$build/crash-$1-" "$build/corpus/$1" "$seeds" >"$log" 2>&1
  status=$?
  printf 'fuzz %-12s %9s executions, %s\n' "$1" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" \
    "$([ $status = 0 ] && echo ok || echo FAILED)"
  [ $status = 0 ] || grep -aE 'BROKEN PROMISE|ERROR|runtime error|SUMMARY|Test unit written' -A2 "$log" | head -30 >&2
  return $status
}
export -f run

# shellcheck disable=SC2086 # FUZZ is a pattern.
cd tests/fuzz/corpus && printf '%s\n' ${FUZZ:-*} | (cd ../../.. && xargs -P"${JOBS:-1}" -I{} bash -c 'run {}')
