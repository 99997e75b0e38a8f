#!/usr/bin/env bash
# Every file, function, flag and command that a page names exists, and folders include each other as the pages say.
# usage: tests/test_pages.sh BUILD_DIR
set -u
cd "$(dirname "$0")/.."
build=$1 passed=0 failed=0
ok() { passed=$((passed + 1)); }
fail() { failed=$((failed + 1)); echo "FAILED: $*" >&2; }

folders="core nn optim models examples tests"
pages=$(find README.md $folders -name '*.md')
sources=$(find $folders Makefile -name '*.h' -o -name '*.cpp' -o -name '*.py' -o -name '*.sh' -o -name Makefile)
words=$(mktemp) && trap 'rm -f "$words"' EXIT
# What may be named: every word of the sources, and the names of files.
cat $sources | grep -oE '[A-Za-z_][A-Za-z_0-9]*' | LC_ALL=C sort -u >"$words"
find $folders -type f | sed 's|.*/||; s|\.[^.]*$||' >>"$words"
targets=$(grep -oE '^[a-z][a-z -]*:' Makefile | tr -d : | tr ' ' '\n')
flags=$({ for c in train translate test data compare inspect distract; do "$build"/translate $c --help; done
  for c in train sample evaluate inspect compare "study run" "study report"; do "$build"/language_model $c --help; done
  for c in train run report; do "$build"/needle $c --help; done
  for b in "$build"/bench/*; do [ -x "$b" ] && "$b" --help; done
  grep -ohE 'add_argument\("--[a-z-]+' tests/bench/*.py; } 2>/dev/null | grep -oE -- '--[a-z][a-z0-9-]*' | sort -u)

is_flag() { grep -qxF -- "$1" <<<"$flags"; }
is_path() { compgen -G "$1" >/dev/null; }

# A command of a page: is there such a program, subcommand, target, and does it take these flags?
command_exists() {
  local page=$1 line=$2 program subcommand word known
  line=${line%%#*}
  case $line in
    make*:*) ;;  # output
    make*) for word in ${line#make}; do
        case $word in -*|*=*|*/*|[0-9]*) ;; *) grep -qxF -- "$word" <<<"$targets" && ok || fail "$page: make $word" ;; esac
      done ;;
    build/*|"python3 tests/"*|tests/*)
      read -r program subcommand word _ <<<"${line#python3 }"
      [ "$subcommand" = study ] && subcommand="study $word"
      program=${program/#build/$build}
      is_path "$program" && ok || { fail "$page: no $program"; return; }
      case $program in
        */translate|*/language_model|*/needle) known=$("$program" $subcommand --help 2>/dev/null) || fail "$page: $program $subcommand" ;;
        *.py) known=$(cat "$program") ;;
        */bench/*) known=$("$program" --help 2>/dev/null) ;;
        *) return ;;
      esac
      for word in $(grep -oE -- '(^| |\[)--[a-z][a-z0-9-]*' <<<"$line" | tr -d ' ['); do
        grep -qE -- "$word([^a-z0-9-]|\$)" <<<"$known" && ok || fail "$page: $program $subcommand has no $word"
      done ;;
  esac
}

# A piece of code in a sentence: a path, flags, a command, or a name with its scope and arguments.
code_exists() {
  local page=$1 code=$2 here name word
  here=$(dirname "$page")
  case $code in
    make\ *|build/*|tests/*.sh*|"python3 tests/"*) command_exists "$page" "$code"; return ;;
    -*) for word in $(grep -oE -- '--[a-z][a-z0-9-]*' <<<"$code"); do
        is_flag "$word" && ok || fail "$page: no program has $word"; done; return ;;
  esac
  case $code in *[\ =\$\<\>\"\{\|]*) return ;; esac  # an expression, or text
  case $code in
    .h|.cpp) return ;;
    */*) is_path "$code" || is_path "$here/$code" || is_path "examples/$code" ||
        grep -v '^#include' tests/bench/ops.cpp | grep -qF -- "\"${code%%/*}/" && ok || fail "$page: no file $code"; return ;;
    *.h|*.cpp|*.py|*.sh|*.md) [ -n "$(find . -name "$code" -not -path './build*' -print -quit)" ] && ok || fail "$page: no file $code"; return ;;
  esac
  name=${code%%(*}
  [[ $name =~ ^[A-Za-z_][A-Za-z_0-9:.-]*$ ]] || return
  for word in $(tr ':.-' '   ' <<<"$name"); do
    grep -qxF -- "$word" "$words" && ok || fail "$page: nothing is called $code"
  done
}

for page in $pages; do
  grep -qE '@[A-Z]+@|TODO|TBD' "$page" && fail "$page: something was to be filled in" || ok
  while read -r link; do  # [text](target)
    [ -e "$(dirname "$page")/$link" ] && ok || fail "$page: a link to $link, which is not there"
  done < <(sed '/^```/,/^```/d; /^    /d' "$page" | grep -oE '\]\([^)#]+' | sed 's/](//' | grep -v '^https\?:')
  while read -r code; do code_exists "$page" "$code"; done < <(sed '/^```/,/^```/d; /^    /d' "$page" | grep -oE '`[^`]+`' | tr -d '`')
  while read -r line; do command_exists "$page" "$line"; done < <({ sed -n '/^```/,/^```/p' "$page"; grep -E '^    ' "$page"; } |
    sed -zE 's/\\\n */ /g' | sed -E 's/^ *(\$ )?//; s/^[A-Z_]+=[^ ]* //; s/.*\| *build/build/' | grep -E '^(make|build/|tests/|python3 tests/)')
done

# --- Folders: arrows point one way, and the picture has them all ---------------------------------------------------
layer() {  # a folder includes only those of lower layers, or of its own if they are one library
  case $1 in core*) echo 1 ;; nn|optim) echo 2 ;; models) echo 3 ;; examples/text) echo 4 ;; examples/training) echo 5 ;;
    examples/*) echo 6 ;; esac
}
arrows=$(make -s arrows)
while read -r from to; do
  if [[ $from = core* && $to = core* ]] || [ "$(layer "$from")" -gt "$(layer "$to")" ]; then ok
  else fail "$from includes $to"; fi
done <<<"$arrows"
drawn=$(grep -oE '<title>[^<]*&#45;&gt;[^<]*' core/folders.svg | sed 's/<title>//; s/&#45;&gt;/ /; s/&#45;/-/g' | LC_ALL=C sort)
[ "$drawn" = "$arrows" ] && ok || fail "core/folders.svg is not what the includes say: make folders"

echo "$passed passed, $failed failed"
[ $failed = 0 ]
