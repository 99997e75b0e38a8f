#!/usr/bin/env bash
# clang-tidy, as clang-tidy.yml says, for FILES, in JOBS processes; CPPFLAGS is how they are compiled.
#   JOBS=2 CPPFLAGS="-std=c++20 -I." tests/lint/tidy.sh FILES
# Most of its time goes into headers, so the sources of a folder are put into one file; so are the first subcommands of
# all programs, the second, and so on. Where that cannot be (two sources have a name in common), each is read alone.
set -euo pipefail
groups=$(mktemp -d)
trap 'rm -rf "$groups"' EXIT
export groups

declare -A commands
for file in "$@"; do
  folder=$(dirname "$file")
  group=${folder//\//-}
  case $file in */command_*|*/main.cpp)
    nth=${commands[$folder]:-0}
    commands[$folder]=$((nth + 1))
    group=commands-$nth ;;
  esac
  { echo "#line 1 \"$file\""; cat "$file"; } >>"$groups/$group.cpp"
done

# clang-tidy tells a line of the file that it read: told as the source's, which its last #line names.
tidy() {
  clang-tidy --quiet --config-file=tests/lint/clang-tidy.yml "$1" -- $CPPFLAGS 2>/dev/null | awk -v group="$1" '
    BEGIN { for (n = 1; (getline text < group) > 0; ++n)
      if (text ~ /^#line 1 "/) { split(text, part, "\""); file[++count] = part[2]; start[count] = n } }
    count && index($0, group ":") == 1 {
      rest = substr($0, length(group) + 2)
      for (i = count; start[i] > rest + 0; --i);
      sub(/^[0-9]+/, rest - start[i], rest)
      $0 = file[i] ":" rest
    }
    { print }'
}
# A folder's file, or each source alone if that cannot be compiled.
tidy_group() {
  local found status=0
  found=$(tidy "$1") || status=$?
  if grep -q '\[clang-diagnostic-error' <<<"$found"; then
    sed -nE 's/^#line 1 "(.*)"$/\1/p' "$1" | xargs -I{} bash -o pipefail -c 'tidy {}'
  else
    [ -z "$found" ] || echo "$found"
    return $status
  fi
}
export -f tidy tidy_group
# The largest first.
ls -S "$groups"/*.cpp | xargs -P"$JOBS" -I{} bash -o pipefail -c 'tidy_group {}'
