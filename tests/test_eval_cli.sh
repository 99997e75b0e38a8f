#!/usr/bin/env bash
# What happens around a trained model, from outside: decoding, scores, help.
# usage: tests/test_eval_cli.sh BUILD_DIR
. "$(dirname "$0")"/cli_helpers.sh

$translate train --run run --task reverse --pairs 400 --max-updates 20 --d-model 16 --ff 16 --layers 1 --threads 2 \
  >/dev/null 2>&1 || fail "training"
run="translate --run run --threads 2"

# --- Decoding -----------------------------------------------------------------------------------------------------
printf 'a b c\n \t\n\nx y z w\nd e f\n' >input
$translate $run --beam 4 --n-best 3 <input >best 2>/dev/null
check "n-best lines" "! grep -qvE '^[0-4] \|\|\| .* \|\|\| -?[0-9]+\.[0-9]{4}$' best"
check "a blank line has one empty translation" "[ \"\$(grep '^[12] ' best)\" = $'1 |||  ||| 0.0000\n2 |||  ||| 0.0000' ]"
check "the best first" "awk -F' [|][|][|] ' '\$1 == line && \$3 > score { exit 1 } { line = \$1; score = \$3 }' best"
$translate $run --beam 4 <input >plain 2>/dev/null
check "plain output is the best of them" \
  "cmp -s plain <(awk -F' [|][|][|] ' '\$1 != line { print \$2 } { line = \$1 }' line=-1 best)"
for size in 1 2; do
  $translate $run --beam 4 --n-best 3 --batch-size $size <input 2>/dev/null | cut -d'|' -f1-4 >batched
  check "the same in batches of $size" "cmp -s batched <(cut -d'|' -f1-4 best)"
done
$translate $run --beam 4 --n-best 1 --length-penalty 0 <input 2>/dev/null >sums
check "alpha = 0 scores log P, which is lower" "paste -d'|' sums <(awk '!seen[\$1]++' best) | awk -F'|' '\$7 > \$14 { exit 1 } \$7 < \$14 { lower = 1 } END { exit !lower }'"
refuses "--n-best 3 needs a --beam" $translate $run --n-best 3
refuses "length penalty nan" $translate $run --beam 2 --length-penalty nan
refuses "length penalty 1000 must be from 0 to 30" $translate $run --beam 2 --length-penalty 1000
refuses "length penalty -1" $translate $run --beam 2 --length-penalty -1
refuses "--batch-size" $translate $run --batch-size 0
refuses "stdin: cannot read: Is a directory" eval "$translate $run <."
check "of a flag given twice, the last counts" "cmp -s plain <($translate $run --beam 2 --beam 4 <input 2>/dev/null)"
# Two texts are never the same, though the same text can be written with other tokens.
seq 60 | sed 's/.*/a b &/' | $translate $run --beam 12 --n-best 12 2>/dev/null >lists
check "the texts of a list differ" "[ -s lists ] && [ -z \"\$(awk -F' [|][|][|] ' '{ print \$1, \$2 }' lists | sort | uniq -d)\" ]"

# What the vocabulary lacks is told, with its lines.
printf 'a b\na Ж c\nx\nЖЖЖ\n' | $translate $run >out 2>err
check "unknown characters are told" "grep -qx 'warning: stdin: the vocabulary lacks characters of 2 lines (2, 4): the model sees one token for all' err"
check "all lines are translated" "[ \$(wc -l <out) = 4 ]"
$translate $run <input >out 2>err
check "none are" "! grep -q warning err"
# A NUL is a character like others.
for i in $(seq 60); do printf 'a\tx\0y\n'; done >nul.tsv
$translate train --run nul --train nul.tsv --vocab-size 20 --d-model 16 --heads 1 --ff 16 --layers 1 --dropout 0 --max-updates 60 \
  --warmup 10 --lr 0.03 --batch-tokens 60 --threads 2 >out 2>err || fail "NUL: $(cat err)"
check "a training shows all of it, with a space for the NUL" "grep -qx '  translation  x y  (exact)' out"
echo a | $translate translate --run nul >out 2>/dev/null
check "a translation is whole" "cmp out <(printf 'x\0y\n')"
echo a | $translate translate --run nul --beam 2 --n-best 1 >out 2>/dev/null
check "an n-best list too" "grep -qaP '^0 \|\|\| x\0y \|\|\| -?[0-9.]+$' out"

# A sentence that is too long.
{ echo 'a b c'; yes 'a b' | head -200 | tr '\n' ' '; echo; echo 'x y'; } >long
refuses "stdin:2: a sentence of " eval "$translate $run <long"
refuses "(--long-lines crop or empty translates the others)" eval "$translate $run <long"
refuses "--long-lines" $translate $run --long-lines wrap
for how in crop empty; do
  $translate $run --long-lines $how <long >$how 2>err
  check "$how: the line is named" "grep -qE '^warning: stdin:2: a sentence of [0-9]+ tokens; this model takes 256: ' err"
  check "$how: the others are translated" "[ \$(wc -l <$how) = 3 ] && \
    cmp -s <(sed 2d $how) <(printf 'a b c\nx y\n' | $translate $run 2>/dev/null)"
done
# What was not translated is no hypothesis: its score is 0.
score() { $translate $run --long-lines $1 --beam 2 --n-best 1 <long 2>/dev/null | grep '^1 |||' | sed 's/.* //'; }
check "empty is empty, crop is not" "[ -z \"\$(sed -n 2p empty)\" ] && [ \"\$(score empty)\" = 0.0000 ] && [ \"\$(score crop)\" != 0.0000 ]"

cp -r run early; rm early/model.safetensors
refuses "early/model.safetensors: not there yet" $translate translate --run early
check "its last checkpoint" "[ \$($translate translate --run early --model last <input 2>/dev/null | wc -l) = 5 ]"

# A translation is cut off after max_length_factor times its source, and 10 tokens.
for i in $(seq 40); do printf '%d\t%s\n' $((i % 7)) "one two three four five six seven eight nine ten eleven twelve"; done >growing.tsv
grow() {
  $translate train --run "$@" --train growing.tsv --vocab-size 30 --d-model 16 --ff 16 --layers 1 --dropout 0 \
    --max-updates 60 --warmup 10 --lr 0.02 --batch-tokens 200 --overfit-one-batch --threads 2 >out 2>&1 || fail "training"
}
grow growing
check "targets that are out of reach are counted" \
  "grep -qx '39 of their targets are longer than 1.5 times the source and 10 tokens, where .*: --max-length-factor' out"
echo 3 | $translate translate --run growing >short 2>/dev/null
grow grown --max-length-factor 20
echo 3 | $translate translate --run grown >whole 2>/dev/null
check "a run's factor is used" "[ \$(wc -c <whole) -gt \$(wc -c <short) ]"
sed -i 's/"max_length_factor": 1.5/"max_length_factor": 20.0/' growing/config.json
check "an edited config is not believed" \
  "! $translate translate --run growing </dev/null 2>err && grep -q 'max_length_factor is 20.0, but was 1.5' err"

# A terminal: each line is answered before the next is typed, and a bad one does not end the session.
mkfifo keys
TERM=dumb script -qefc "$translate $run 2>&1" typed <keys >/dev/null 2>&1 &
session=$!
exec 3>keys
answered() { for _ in $(seq 200); do [ "$(tr -d '\r' <typed 2>/dev/null | grep -cxF -- "$1")" -ge "$2" ] && return; sleep 0.1; done; false; }
echo 'a b c' >&3
check "answered at once" "answered \"$($translate $run <<<'a b c' 2>/dev/null)\" 1"
printf 'a \377 b\n' >&3
check "told what is wrong" "answered 'translate: stdin:2: this is not valid UTF-8' 1"
echo 'x y z w' >&3
check "and it goes on" "answered \"$($translate $run <<<'x y z w' 2>/dev/null)\" 1"
printf '\004' >&3
exec 3>&-
wait $session
check "ended by ^D with exit code 0" "[ $? = 0 ]"

# --- Scores -------------------------------------------------------------------------------------------------------
test="$translate test --run run --threads 2"
$test --out translations >scores 2>/dev/null
check "--out has a line for each" "[ \$(wc -l <translations) = 1000 ]"
check "chrF line" "grep -qE '^chrF2\|nrefs:1\|bs:1000\|seed:12345\|case:mixed\|eff:yes\|nc:6\|nw:0\|space:no\|version:\S+ = [0-9.]+ \(μ = [0-9.]+ ± [0-9.]+\)$' scores"
head -3 input | tr ' \t' 'xx' | sed 's/$/ y y y/' >src; cp src tgt
sed 's/ y$//' tgt >three
check "where BLEU says nothing, that is said" "$test --src src --tgt three 2>/dev/null | grep -qx 'no BLEU: it compares runs of four words, and no reference has so many'"
check "signatures follow the options" "$test --src src --tgt tgt --tokenized --lowercase 2>/dev/null | grep -c 'case:lc.*tok:none\|chrF2.*case:lc' | grep -qx 2"
head -2 src >shorter
refuses "src has 3 lines, but shorter has 2" $test --src src --tgt shorter
refuses "missing: cannot open" $test --src missing --tgt tgt
refuses "--src and --tgt go together" $test --src src
refuses "none/out: cannot write: No such file or directory" $test --src src --tgt tgt --out none/out

# --- Runs side by side --------------------------------------------------------------------------------------------
$translate train --run soft --task reverse --pairs 400 --max-updates 10 --d-model 16 --ff 16 --layers 1 --threads 2 \
  --attention softmax >/dev/null 2>&1 || fail "training"
$translate compare run soft >table 2>/dev/null
check "a row for each run" "grep -qE '^run +diff +[0-9]+ +20 +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9]+$' table && grep -qE '^soft +softmax +[0-9]+ +10 ' table"
check "its perplexity is the log's best" \
  "grep -q \" \$(awk -F, '\$1 == \"valid\" { printf \"%.3f\\n\", exp(\$4) }' run/train_log.csv | sort -g | head -1) \" table"
check "compare.svg" "grep -q '>soft [0-9.]*</text>' compare.svg"
check "a picture of its own" "$translate compare run --svg other.svg 2>/dev/null | grep -q other.svg && [ -s other.svg ]"
mkdir half && cp run/config.json half && head -1 run/train_log.csv >half/train_log.csv
check "a run that has just begun" "$translate compare half 2>/dev/null | grep -qE '^half +diff( +-){6}$'"
refuses "nowhere: no such run folder" $translate compare run nowhere
cp -r soft stopped; echo 'valid,2,14,2.000000,7.3891,,,,1.00,0.0,0.1' >>stopped/train_log.csv
check "updates are counted to the last validation" "$translate compare stopped 2>/dev/null | grep -qE '^stopped +softmax +[0-9]+ +14 '"
refuses "half/train_log.csv:2" eval 'echo train,1 >>half/train_log.csv; '"$translate compare half"
refuses "none/x.svg" $translate compare run --svg none/x.svg
refuses "runs is required" $translate compare

# --- A corpus looked over -----------------------------------------------------------------------------------------
# found "a kind" "count: places" : that line of the report
found() { check "data: $1" "grep -qE '^ +$2$' report || { cat report >&2; false; }"; }
printf 'one dog\teins\nHello Bob\tHello Bob\none dog\teins\none dog\tein Hund\nno tab\na\tb\tc\n\tnull\nbad\t\377\n \t \n%s\tlang\n' \
  "$(yes wort | head -40 | tr '\n' ' ')" >faulty.tsv
$translate data --train faulty.tsv --max-length 40 >report 2>err; check "faulty.tsv: exit 2" "[ $? = 2 ]"
check "data says why" "grep -qF 'faulty.tsv: cannot be trained on: lines without exactly one tab: 2; lines of invalid UTF-8: 1; empty sentences: 2; pairs over --max-length 40, in words: 1' err"
found "tabs" "2  lines without exactly one tab: faulty.tsv:5, faulty.tsv:6"
found "UTF-8" "1  lines of invalid UTF-8: faulty.tsv:8"
found "empty sentences" "2  empty sentences: faulty.tsv:7, faulty.tsv:9"
found "too long" "1  pairs over --max-length 40, in words: faulty.tsv:10"
found "repeated" "1  pairs that repeat an earlier one: faulty.tsv:3"
found "sources again" "1  sources again, with another target: faulty.tsv:4"
found "untranslated" "1  source and target the same: faulty.tsv:2"
found "lengths" "1  lengths that do not fit: .*: faulty.tsv:10"
check "lines and words" "grep -qE '^lines +10 +10$' report && grep -qE '^words +48 \(9.6 a line, at most 40\) +7 ' report"
check "histogram" "grep -qE '^ +[0-9]+-[0-9]+  (█)+ 4$' report"
check "longest pairs" "grep -qx '  faulty.tsv:10  40 and 1 words' report"

printf ' a b\tc\na b\tc  d\na\tb \na\t\xC2\xA0\n\xE3\x80\x80\tb\na b\tc d\n' >spaces.tsv
$translate data --train spaces.tsv >report 2>/dev/null
found "stray spaces" "3  sentences with a space at an end, or two in a row: spaces.tsv:1, spaces.tsv:2, spaces.tsv:3"
found "whitespace of other kinds" "2  empty sentences: spaces.tsv:4, spaces.tsv:5"
$translate data --train growing.tsv --vocab-size 30 >report 2>/dev/null
found "targets out of reach" "40  targets longer than 1.5 times the source and 10: .*: growing.tsv:1, growing.tsv:2, growing.tsv:3, ..."
refuses "--vocab excludes --vocab-size" $translate data --train growing.tsv --vocab run --vocab-size 30

paste <(seq 1 30) <(seq 101 130) >good.tsv
check "good.tsv: exit 0" "$translate data --train good.tsv >report 2>/dev/null && grep -q '^30 pairs can be trained on; to be sure' report"
check "subwords of a run" "$translate data --train good.tsv --vocab run >report 2>/dev/null && grep -q '^of [0-9]* in the vocabulary' report"
found "unknown" "30  pairs with characters that the vocabulary lacks: good.tsv:1, good.tsv:2, good.tsv:3, ..."
cp -r run other; cp growing/spm.model other
refuses "other/last.safetensors: belongs to another vocabulary than spm.model" $translate data --train good.tsv --vocab other
check "subwords of its own" "$translate data --train good.tsv --vocab-size 40 >report 2>/dev/null && grep -q '^of 40 in the vocabulary' report"
found "none unknown" "0  pairs with characters that the vocabulary lacks"

# `data` and `train` agree on what can be trained on.
printf 'a\tb\n' >one.tsv; : >nothing.tsv; printf 'a b\tc\r\nd\te\r\n\r\n' >gap.tsv
{ cat good.tsv; printf '%s\tb\n' "$(yes 1 | head -300 | tr '\n' ' ')"; } >long.tsv
for corpus in faulty good one nothing gap long spaces; do
  $translate data --train $corpus.tsv --vocab-size 20 >/dev/null 2>&1; says=$?
  rm -rf new; $translate train --run new --train $corpus.tsv --vocab-size 20 --d-model 16 --ff 16 --layers 1 --max-updates 1 \
    --threads 2 >/dev/null 2>&1
  check "data and train agree on $corpus.tsv" "[ $? = $says ]"
done
seq 1 30 >src; seq 1 29 >tgt
$translate data --train-src src --train-tgt tgt >report 2>err; check "files of different lengths: exit 2" "[ $? = 2 ]"
found "different lengths" "1  files of different lengths: tgt ends first"
refuses "missing: cannot open" $translate data --train missing
refuses "give --train, or" $translate data
refuses "--train-src and --train-tgt go together" $translate data --train-src src

# --- Help, mistakes, and output that cannot be written ------------------------------------------------------------
refuses "--atention: unknown; did you mean --attention?" $translate train --run new --atention diff
refuses "--batch_tokens: unknown; did you mean --batch-tokens?" $translate train --run new --batch_tokens=512
refuses "--epochs: unknown; did you mean --max-epochs?" $translate train --run new --epochs 3
refuses "--bea: unknown; did you mean --beam?" $translate $run --bea 4
refuses "trian: unknown; did you mean train?" $translate trian --run new
refuses "--zzzzzz: unknown (translate test --help" $test --zzzzzz
for command in train translate test data compare inspect; do
  $translate $command --help >help
  check "$command --help: an example" "grep -A1 -E 'Examples?:$' help | tail -1 | grep -q '^  .*translate $command'"
done
check "--help: defaults" "[ \$($translate train --help | grep -cE '=[0-9.a-z-]+ |\[.*\]') -ge 20 ]"
if [ -e /dev/full ]; then
  $translate $run <input >/dev/full 2>err; check "full disk: exit 2" "[ $? = 2 ]"
  check "full disk: said so" "grep -q 'stdout: cannot write: No space left on device' err"
  $translate --help >/dev/full 2>/dev/null; check "full disk, help: exit 2" "[ $? = 2 ]"
fi
$translate $run <input >&- 2>err; check "closed output: exit 2" "[ $? = 2 ] && grep -q 'stdout: is closed' err"

# --- Distractors --------------------------------------------------------------------------------------------------
tiny="--task reverse --pairs 4000 --d-model 16 --ff 32 --layers 1 --distractors 0.6 --batch-tokens 300 --warmup 10 --lr 0.02"
for arm in softmax diff; do
  $translate train --run d-$arm --attention $arm $tiny --max-updates 120 >out 2>&1 || fail "training with distractors"
done
check "validation has distractors" "grep -qE '⟦ .* ⟧ [a-z]|[a-z] ⟦ .* ⟧' out"
# References that are what the model says of the marked sentences: alone, all are right.
for i in $(seq 30); do echo "a b c $(printf "\\x$(printf %x $((97 + i % 26)))") d e"; done >alone
sed 's/.*/⟦ & ⟧/' alone | $translate translate --run d-diff 2>/dev/null >said
paste -d' ' said <(yes 'x y z w' | head -30) >never  # and such as it never says
$translate distract d-diff --src alone --tgt said >out 2>err || fail "distract: $(cat err)"
check "alone, all references are met" "grep -qE '^\\| d-diff \\| diff \\| 1 \\| 100\\.00 \\| [0-9.]+ \\| [0-9.]+ \\|$' out"
$translate distract d-diff --src alone --tgt never >out 2>err
check "or none" "grep -qE '^\\| d-diff \\| diff \\| 1 \\| ([0-9]|[1-8][0-9])\\.[0-9]+ \\|' out"
$translate distract d-softmax d-diff >out 2>err || fail "distract: $(cat err)"
check "of a task its own test set; the drop of each attention" "grep -qE '^\\| (softmax|diff) \\| 1 \\| [0-9.]+ \\| -?[0-9.]+ \\| -?[0-9.]+ \\|' out && grep -q \"less softmax's, before\" out"
refuses "run: was trained without --distractors" $translate distract run
refuses "d-diff and d-diff: both have diff attention and seed 1" $translate distract d-diff d-softmax d-diff
$translate train --run d-more $tiny --max-updates 10 --seed 2 >out 2>&1 || fail "training another with distractors"
refuses "d-more and d-diff: max_updates is 10 and 120; a comparison is of attentions and seeds" $translate distract d-diff d-more
refuses "d-diff: was trained with --distractors; it is tested by" $translate test --run d-diff
refuses "--distractors 1: must be in [0, 1)" $translate train --run none --distractors 1

report
