#!/usr/bin/env bash
# The translate program from outside: a whole small run, and every kind of bad input.
# usage: tests/test_cli.sh BUILD_DIR
. "$(dirname "$0")"/cli_helpers.sh

small="--d-model 16 --ff 16 --layers 1 --log-every 5"

# --- A run from start to end -------------------------------------------------------------------------------------
$translate train --run run $small --task reverse --pairs 400 --max-updates 20 >log 2>err || fail "training: $(cat err)"
for file in config.json spm.model model.safetensors train_log.csv loss.svg attention.svg; do
  check "run/$file" "[ -s run/$file ]"
done
check "log line" "grep -qE 'epoch 1  update 5  loss [0-9.]+  perplexity [0-9.]+  [0-9]+ tokens/s  lr [0-9.e-]+  gradient norm [0-9.]+' log"
check "validation line" "grep -qE 'VALID  loss [0-9.]+  perplexity [0-9.]+  exact match [0-9.]+%  chrF [0-9.]+  after' log"
check "no bar without a terminal" "! grep -q $'\r' log err"
check "csv" "[ \$(grep -c '^train,' run/train_log.csv) = 4 ]"

$translate train --run again $small --task reverse --pairs 400 --max-updates 20 --threads 1 >/dev/null 2>&1
check "one seed, the same bits, at any number of threads" "cmp -s run/model.safetensors again/model.safetensors"
$translate train --run other $small --task reverse --pairs 400 --max-updates 20 --seed 2 >/dev/null 2>&1
check "another seed, other bits" "! cmp -s run/model.safetensors other/model.safetensors"

printf 'a b c\n\nx y z w\n' >input
$translate translate --run run <input >from_file 2>/dev/null
cat input | $translate translate --run run >from_pipe 2>/dev/null
check "a translation for each line" "[ \$(wc -l <from_file) = 3 ]"
check "an empty line stays empty" "[ -z \"\$(sed -n 2p from_file)\" ]"
check "file and pipe alike" "cmp -s from_file from_pipe"
check "beam search" "$translate translate --run run --beam 4 <input 2>/dev/null | wc -l | grep -qx 3"
$translate test --run run >scores 2>/dev/null
check "BLEU line" "grep -qE '^BLEU\|nrefs:1\|bs:1000\|seed:12345\|case:mixed\|eff:no\|tok:13a\|smooth:exp\|version:\S+ = [0-9.]+ (\(μ = [0-9.]+ ± [0-9.]+\) )?([0-9.]+/){3}[0-9.]+ \(BP = ' scores"

paste <(sed 's/$/./' <<<$'one\ntwo\nthree\nfour\nfive\nsix') <(printf 'eins\nzwei\ndrei\nvier\nfünf\nsechs\n') >pairs.tsv
$translate train --run tsv $small --train pairs.tsv --attention diff-v2 --style vaswani --max-updates 3 >/dev/null 2>err ||
  fail "training on a TSV: $(cat err)"
cut -f1 pairs.tsv >src; cut -f2 pairs.tsv >tgt
$translate train --run files $small --train-src src --train-tgt tgt --valid-src src --valid-tgt tgt --attention softmax \
  --max-updates 3 >log 2>err || fail "training on files: $(cat err)"
check "single words have no BLEU" "grep -q VALID log && ! grep -q BLEU log && ! $translate test --run files --src src --tgt tgt 2>/dev/null | grep '^BLEU'"
check "test on files" "$translate test --run files --src src --tgt tgt 2>/dev/null | grep -q 'exact match: [0-9]* of 6'"

# --- Slow BLAS kernels that the user asked for: a warning, and they stay ------------------------------------------
if grep -qsw avx2 /proc/cpuinfo; then
  OPENBLAS_CORETYPE=Prescott $translate --help >/dev/null 2>err
  check "OPENBLAS_CORETYPE=Prescott" \
    "[ \$(wc -l <err) = 1 ] && grep -q '^warning: OpenBLAS runs its Prescott kernels (OPENBLAS_CORETYPE=Prescott)' err"
fi

# --- Bad input: exit code 2, one line that names what and where, nothing written --------------------------------
train="$translate train --run new $small --max-updates 1"
refuses "missing.tsv" $train --train missing.tsv
head -5 tgt >shorter
refuses "shorter" $train --train-src src --train-tgt shorter --valid-src src --valid-tgt tgt
: >empty
refuses "empty" $train --train empty
printf 'one\teins\n\ntwo\tzwei\n' >gap.tsv
refuses "gap.tsv:2" $train --train gap.tsv
printf 'one\teins\ntwo\tzw\xff\n' >bytes.tsv
refuses "bytes.tsv:2" $train --train bytes.tsv
printf 'one\teins\ntwo zwei\n' >notab.tsv
refuses "notab.tsv:2" $train --train notab.tsv
{ cat pairs.tsv; printf '%s\tlang\n' "$(yes one. | head -300 | tr '\n' ' ')"; } >long.tsv
refuses "long.tsv:7: the source has" $train --train long.tsv --valid pairs.tsv
refuses "--train-src and --train-tgt go together" $train --train-src src
refuses "10 is not divisible by 3 heads of two maps" $translate train --run new --d-model 10 --heads 3
refuses "head width" $translate train --run new --d-model 12 --heads 2
refuses "--no-such-flag" $train --no-such-flag
refuses "attention: \"soft\" is none of" $train --attention soft
refuses "--preset huge" $train --preset huge
refuses "--task chess" $train --task chess
refuses "--lr" $train --lr fast
refuses "--max-updates" $translate train --run new --max-updates -1
refuses "--dropout 1.5: must be in [0, 1)" $train --dropout 1.5
check "nothing was written" "[ ! -e new ]"
refuses "run: holds a run already" $translate train --run run $small
refuses "--run is required" $translate train
refuses "nowhere" $translate translate --run nowhere
refuses "src/new" $translate train --run src/new $small --max-updates 1

cp -r run damaged
head -c 5000 run/model.safetensors >damaged/model.safetensors
refuses "damaged/model.safetensors" $translate translate --run damaged
cp other/config.json damaged/config.json; sed -i 's/"d_model": 16/"d_model": 32/' damaged/config.json
cp run/model.safetensors damaged/
refuses "damaged/model.safetensors: does not fit damaged/config.json" $translate translate --run damaged
echo '{"d_model": ' >damaged/config.json
refuses "damaged/config.json" $translate translate --run damaged
cp run/config.json damaged/; head -c 100 run/spm.model >damaged/spm.model
refuses "damaged/spm.model" $translate translate --run damaged
refuses "have no test set" $translate test --run files
yes 'a b c d' | head -200 | tr '\n' ' ' >long
check "an over-long sentence on stdin" "! $translate translate --run run <long >out 2>err && grep -q 'stdin:1: a sentence of' err && [ ! -s out ]"

report
