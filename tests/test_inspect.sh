#!/usr/bin/env bash
# translate inspect from outside: a page made in another directory, and every kind of bad input.
# usage: tests/test_inspect.sh BUILD_DIR
set -u
translate=$(realpath "$1")/translate
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
passed=0 failed=0

ok() { passed=$((passed + 1)); }
fail() { failed=$((failed + 1)); echo "FAILED: $*" >&2; }
check() { if eval "$2"; then ok; else fail "$1"; fi; }

# refuses "a part of the message" arguments...: exit code 2, one line on stderr that has the part, nothing on stdout.
refuses() {
  local part=$1 status; shift
  $translate inspect "$@" >out 2>err </dev/null; status=$?
  sed -i '/^OpenBLAS chose/d' err
  if [ $status = 2 ] && [ "$(wc -l <err)" = 1 ] && [ ! -s out ] && grep -qF -- "$part" err; then ok
  else fail "$* -> exit $status, wanted 2 and \"$part\"; stderr:"; cat err >&2; fi
}

$translate train --run run --d-model 16 --ff 16 --layers 1 --task reverse --pairs 400 --max-updates 3 >/dev/null 2>err ||
  fail "training: $(cat err)"

check "a page in the run folder" "[ \"\$($translate inspect --run run --sentence 'a b c' 2>/dev/null)\" = 'run/inspect.html: open it in a browser' ]"
check "it is whole" "head -1 run/inspect.html | grep -q '^<!doctype html>' && tail -1 run/inspect.html | grep -q '^</html>'"
check "it has its numbers" "grep -q '\"cross\":\[\[{\"a1\":\[[0-9]' run/inspect.html"
$translate inspect --run run --sentence '</script> "x" 🙂' --beam 3 --out page.html >/dev/null 2>&1
check "HTML in a sentence" "[ \$(grep -c '</script' page.html) = 2 ] && grep -qF '\"sentence\":\"\\u003c/script> \\\"x\\\" 🙂\"' page.html"
$translate inspect --run run --sentence 'a b c' --target 'c b a' --out page.html >/dev/null 2>&1
check "a given translation" "grep -q '\"translation\":\"c b a\"' page.html"

rm -f run/inspect.html
refuses "--sentence is required" --run run
refuses "--sentence: the text is empty" --run run --sentence ""
refuses "--sentence: expected one line, found 2" --run run --sentence $'a\nb'
refuses "--sentence:1: byte 3 is not valid UTF-8" --run run --sentence $'a \xff'
refuses "--sentence: a sentence of 402 tokens; this model takes 256" --run run --sentence "$(yes 'a b' | head -200 | tr '\n' ' ')"
refuses "--target: the text is empty" --run run --sentence a --target ""
refuses "--target" --run run --sentence a --target b --beam 2
refuses "nowhere: no such run folder" --run nowhere --sentence a
refuses "missing/page.html: cannot write" --run run --sentence a --out missing/page.html
mkdir folder
refuses "folder: cannot write" --run run --sentence a --out folder
check "nothing was written" "[ ! -e run/inspect.html ] && [ -z \"\$(ls folder)\" ] && ! ls -- *.tmp run/*.tmp >/dev/null 2>&1"

echo "$passed passed, $failed failed"
[ $failed = 0 ]
