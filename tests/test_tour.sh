#!/usr/bin/env bash
# Each page of the tour shows what its program prints, and has two exercises, with solutions in tests/test_tour*.cpp.
# Words must be the same; a number may differ by 1% or by one in its last place. Times are left out. Other CPUs and
# compilers round in other ways, and a training goes another way then. So where a loss differs, it may by 0.02, other
# numbers by a tenth, and what the model writes is not compared. Where all losses agree, all else must.
# usage: tests/test_tour.sh BUILD_DIR [--write]      --write puts into the pages what the programs print
set -u
cd "$(dirname "$0")/.."
export OMP_WAIT_POLICY=passive  # waiting threads sleep: they spin for nothing on a busy machine
build=$1 write=${2:-} passed=0 failed=0
ok() { passed=$((passed + 1)); }
fail() { failed=$((failed + 1)); echo "FAILED: $*" >&2; }
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT

# What the page shows after "$ build/tour/NAME".
shown() { awk -v command="\$ build/tour/$2" '$0 == "```" { on = 0 } on { print } $0 == command { on = 1 }' "$1"; }
without_times() { sed -E 's/ +[0-9]+ ms +[0-9.]+ times/ ... ms ... times/' "$1"; }

# Lines of two files that differ; $3 is 1 to be strict, 0 if trainings went different ways.
differences() {
  paste -d '\n' <(without_times "$1") <(without_times "$2") | awk -v strict="$3" '
    function split_line(line, numbers,    n) {  # the line with # for each number; the numbers
      n = 0
      words = ""
      while (match(line, /[0-9]+(\.[0-9]+)?/)) {
        words = words substr(line, 1, RSTART - 1) "#"
        numbers[++n] = substr(line, RSTART, RLENGTH)
        line = substr(line, RSTART + RLENGTH)
      }
      words = words line
      gsub(/ +/, " ", words)
      return n
    }
    function near(a, b,    unit, point) {
      point = index(a, ".")
      unit = point ? 10 ^ (point - length(a)) : 1
      if (!strict && point && unit < 0.02) unit = 0.02
      return (a - b) ^ 2 <= (1.01 * unit) ^ 2 || (a - b) ^ 2 <= ((strict ? 0.01 : 0.1) * a) ^ 2
    }
    NR % 2 { ours = $0; next }
    !strict && ours ~ /^ *(yes|no) / && $0 ~ /^ *(yes|no) / { next }
    {
      n = split_line(ours, a); our_words = words
      m = split_line($0, b)
      same = n == m && our_words == words
      for (i = 1; same && i <= n; ++i) same = near(a[i], b[i])
      if (!same) print "\n  printed: " ours "\n  page:    " $0
    }'
}

for source in $(ls examples/tour/[0-9]*.cpp | sort -V); do
  name=$(basename "$source" .cpp) page=${source%.cpp}.md number=$(basename "$source" | grep -oE '^[0-9]+')
  if ! "$build/tour/$name" >"$folder/ours" 2>"$folder/errors"; then fail "$name: $(cat "$folder/errors")"; continue; fi
  if [ "$write" = --write ]; then
    awk -v command="\$ build/tour/$name" -v output="$folder/ours" '
      $0 == "```" { on = 0 } !on { print } $0 == command { on = 1; while ((getline line <output) > 0) print line }' \
      "$page" >"$folder/page" && cp "$folder/page" "$page"
  fi
  shown "$page" "$name" >"$folder/page"
  [ -s "$folder/page" ] && ok || fail "$page shows nothing after \$ build/tour/$name"
  for file in ours page; do grep loss "$folder/$file" >"$folder/$file.losses"; done
  [ -z "$(differences "$folder/ours.losses" "$folder/page.losses" 1)" ] && strict=1 || strict=0
  different=$(differences "$folder/ours" "$folder/page" $strict)
  [ -z "$different" ] && ok || fail "$page: $different"
  [ "$(wc -l <"$source")" -lt 100 ] && ok || fail "$source: not below 100 lines"
  grep -qF "](${page##*/})" examples/tour/README.md && ok || fail "examples/tour/README.md does not name $page"
  for exercise in 1 2; do
    grep -qE "^$exercise\. " <(sed '1,/^## Exercises/d' "$page") && ok || fail "$page has no exercise $exercise"
    grep -qF "TEST_CASE(\"tour $number.$exercise: " tests/test_tour*.cpp && ok || fail "no test for $number.$exercise"
  done
done

echo "$passed passed, $failed failed"
[ $failed = 0 ]
