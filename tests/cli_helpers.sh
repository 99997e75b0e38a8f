# Sourced by the tests of programs: usage TEST BUILD_DIR. Goes to a directory for the test's files.
set -u
translate=$(realpath "$1")/translate
dir=$(mktemp -d)
trap 'chmod -R u+rwx "$dir"; rm -rf "$dir"' EXIT  # some folders are read-only by then
cd "$dir"
passed=0 failed=0

ok() { passed=$((passed + 1)); }
fail() { failed=$((failed + 1)); echo "FAILED: $*" >&2; }
check() { if eval "$2"; then ok; else fail "$1"; fi; }

# refuses "a part of the message" command...: exit code 2, one line on stderr that has the part, and nothing on stdout.
refuses() {
  local part=$1 status; shift
  "$@" >out 2>err </dev/null; status=$?
  sed -i '/^OpenBLAS chose/d' err
  if [ $status = 2 ] && [ "$(wc -l <err)" = 1 ] && [ ! -s out ] && grep -qF -- "$part" err; then ok
  else fail "$* -> exit $status, wanted 2 and \"$part\"; stderr:"; cat err >&2; fi
}

# Waits until the command succeeds, but not for ever.
await() {
  local tries
  for ((tries = 0; tries < 3000; ++tries)); do eval "$1" && return; sleep 0.02; done
  fail "in a minute there was no: $1"
}

# A picture is XML; where there is no python3, it is at least whole.
well_formed() {
  if command -v python3 >/dev/null; then python3 -c 'import sys, xml.dom.minidom as x; x.parse(sys.argv[1])' "$1"
  else tail -c 10 "$1" | grep -q '</svg>'; fi
}

# The last line of a test.
report() {
  echo "$passed passed, $failed failed"
  [ $failed = 0 ]
}
