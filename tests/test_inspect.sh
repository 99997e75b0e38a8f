#!/usr/bin/env bash
# translate inspect from outside: a page made in another directory, and every kind of bad input.
# usage: tests/test_inspect.sh BUILD_DIR
. "$(dirname "$0")/cli_helpers.sh"

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
refuses "--sentence is required" $translate inspect --run run
refuses "--sentence: the text is empty" $translate inspect --run run --sentence ""
refuses "--sentence: expected one line, found 2" $translate inspect --run run --sentence $'a\nb'
refuses "--sentence:1: byte 3 is not valid UTF-8" $translate inspect --run run --sentence $'a \xff'
refuses "--sentence: a sentence of 402 tokens; this model takes 256" $translate inspect --run run --sentence "$(yes 'a b' | head -200 | tr '\n' ' ')"
refuses "--target: the text is empty" $translate inspect --run run --sentence a --target ""
refuses "--target" $translate inspect --run run --sentence a --target b --beam 2
refuses "nowhere: no such run folder" $translate inspect --run nowhere --sentence a
refuses "missing/page.html: cannot write" $translate inspect --run run --sentence a --out missing/page.html
mkdir folder
refuses "folder: cannot write" $translate inspect --run run --sentence a --out folder
check "nothing was written" "[ ! -e run/inspect.html ] && [ -z \"\$(ls folder)\" ] && ! ls -- *.tmp run/*.tmp >/dev/null 2>&1"

report
