#!/usr/bin/env bash
# The pages in a real browser, the pictures by a parser and a second drawer of SVG.
# usage: tests/test_browser.sh BUILD_DIR    (SCREENSHOTS=folder keeps pictures of the pages)
browser=$(realpath "$(dirname "$0")")/test_browser.py
[ -z "${SCREENSHOTS:-}" ] || SCREENSHOTS=$(mkdir -p "$SCREENSHOTS" && realpath "$SCREENSHOTS")
. "$(dirname "$0")/cli_helpers.sh"

# Everything that HTML, JavaScript, XML or a line of text could take for something else than text.
hostile=$'</script><script>document.title="taken"</script> <!-- ]]> &lt; "q" \'q\' ` ${1} \\u0041 @DATA@'
hostile+=$' line\u2028end \u202egnol\u202c שלום مرحبا e\u0301\u0302\u0303 👩‍👩‍👧 \ufffe \uffff \x01 \x7f \u0085'
long=$(printf 'unbreakable%.0s' $(seq 12))

# Two words in every source, so that the vocabulary has whole words; the hostile text in every target as in every source.
for i in $(seq 40); do printf '%s one %s\t%s eins %s\n' "$hostile" "$i" "$i" "$hostile"; done >pairs.tsv
for i in $(seq 40); do printf 'one %s\teins %s\n' "$long" "$long"; done >>pairs.tsv
size="--d-model 16 --ff 16 --max-epochs 3 --log-every 1 --lr 0.02 --warmup 2"
train() { $translate train --run "$@" >/dev/null 2>err || fail "training: $(cat err)"; }
odd=$'<i>&"run\' \ufffe]]>'
train "$odd" --train pairs.tsv --vocab-size 160 --layers 3 --heads 2 $size
train softmax --task reverse --pairs 400 --layers 1 --heads 4 --attention softmax --style vaswani $size
train diff-v2 --task reverse --pairs 400 --layers 2 --heads 4 --attention diff-v2 $size
inspect() { $translate inspect --run "$@" >/dev/null 2>err || fail "inspect: $(cat err)"; }
inspect "$odd" --sentence "$hostile" --target "eins $hostile" --out hostile.html
inspect "$odd" --sentence "one $long" --target "eins $long" --out long.html
inspect softmax --sentence 'a b c d e f' --out softmax.html
inspect diff-v2 --sentence 'a b' --target 'b a' --out diff-v2.html
$translate compare "$odd" softmax diff-v2 --svg compare.svg >/dev/null 2>err || fail "compare: $(cat err)"
printf '%s' "$hostile" >hostile.txt

if command -v python3 >/dev/null; then
  python3 "$browser" . ${SCREENSHOTS:+"$SCREENSHOTS"} || fail "test_browser.py"
else
  echo "no python3: the pages were not tried in a browser"
fi
[ $failed = 0 ]
