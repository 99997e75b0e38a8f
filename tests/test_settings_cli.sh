#!/usr/bin/env bash
# translate train from outside: settings from files and flags, and every kind of bad input. Nothing is left of a start
# that fails.
# usage: tests/test_settings_cli.sh BUILD_DIR
. "$(dirname "$0")"/cli_helpers.sh
export OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive

run() { $translate train "$@" >out 2>err; }
run --run half --d-model 16 --ff 16 --layers 1 --task reverse --pairs 300 --max-updates 1

cat >settings.json <<<'{"task": "reverse", "pairs": 300, "d_model": 16, "ff": 16, "layers": 1, "lr": 0.002, "max_updates": 2}'
run --run configured --config settings.json --lr 0.004 --seed 3 || fail "--config: $(cat err)"
check "file and flags, flags winning" "grep -q '\"lr\": 0.004,' configured/config.json && \
  grep -q '\"pairs\": 300,' configured/config.json && grep -q '\"beta2\": 0.98,' configured/config.json"
run --run repeated --config configured/config.json
check "a run's config repeats it" "cmp configured/last.safetensors repeated/last.safetensors"
run --run other --config configured/config.json --preset toy --attention softmax --layers 1
check "a preset's flag brings its sizes" "grep -q '\"d_model\": 128,' other/config.json && grep -q '\"heads\": 4,' other/config.json"
for bad in '{"lr": "fast"}|"lr" must be a number, not "fast"' '{"warmup": 2.5}|"warmup" must be a whole number, not 2.5' \
  '{"seed": -1}|"seed" must be a whole number, not negative, not -1' '{"speed": 1}|"speed" is no setting' \
  '{"vocab_size": 5000000000}|"vocab_size": 5000000000 is too large' '[1]|not a JSON object of settings' '{"lr":|not JSON: parse error at line 2' '{"lr": 1e400}|not JSON: number overflow' \
  '{"lr": 0.1, "lr": 0.2}|the key "lr" is there twice' '{"layers": 1e2}|"layers" must be a whole number, not 100.0 (no point, no exponent)'; do
  echo "${bad%%|*}" >bad.json
  refuses "bad.json: ${bad#*|}" $translate train --run new --config bad.json
done
for nested in '{"lr":' '['; do
  { printf "%80000s" "" | sed "s/ /$nested/g"; echo; } >bad.json
  refuses "bad.json: not JSON that is read here: more than 64 levels" $translate train --run new --config bad.json
done
cp -r half damaged; sed -i 's/"heads": 2/"heads": "two"/' damaged/config.json
refuses 'damaged/config.json: "heads" must be a whole number, not "two"' $translate translate --run damaged

printf 'one\teins\ntwo\tzwei\nthree\tdrei\nfour\tvier\n' >pairs.tsv
cut -f1 pairs.tsv >src; cut -f2 pairs.tsv >tgt
train="$translate train --run new --max-updates 1"
refuses "--task and files to train on" $train --train pairs.tsv --task numbers
refuses "--train and --train-src" $train --train pairs.tsv --train-tgt tgt
refuses "--valid and --valid-src" $train --train pairs.tsv --valid pairs.tsv --valid-src src
refuses "files to validate on need files to train on" $train --valid pairs.tsv
refuses "files to validate on need files to train on" $train --task numbers --valid-src src --valid-tgt tgt
# Of the kinds of data, the one that the flags name counts.
for kind in "--train pairs.tsv" "--train-src src --train-tgt tgt" "--task reverse --pairs 300"; do
  rm -rf newer; run --run newer $kind --vocab-size 40 --d-model 16 --ff 16 --layers 1 --max-updates 1 || fail "$kind"
  for flags in "--train pairs.tsv --valid pairs.tsv" "--train-src src --train-tgt tgt --valid-src src --valid-tgt tgt" "--task reverse"; do
    rm -rf new
    check "$flags after $kind" "run --run new --config newer/config.json $flags && \
      [ \$(grep -cE '\"(train|train_src|task)\": \"[^\"]' new/config.json) = 1 ]"
  done
done
{ printf '\xEF\xBB\xBF'; cat pairs.tsv; } >marked.tsv
for corpus in marked pairs; do run --run $corpus --config newer/config.json --train $corpus.tsv --vocab-size 40; done
check "a byte order mark is no text" "cmp marked/spm.model pairs/spm.model"
rm -rf new
for bad in "--label-smoothing 1" "--label-smoothing -0.5" "--dropout nan" "--beta1 1" "--beta2 -0.1"; do
  refuses "must be in [0, 1)" $train $bad
done
for bad in "--lr inf" "--lr nan" "--lr 0" "--clip-norm inf" "--eps 0"; do
  refuses "must be positive and finite" $train $bad
done
refuses "--weight-decay -1: must be" $train --weight-decay -1
# In double these would pass; they are used in float.
for bad in "--label-smoothing 0.99999999" "--dropout 0.99999999" "--beta1 0.99999999"; do
  refuses "$bad: must be in [0, 1)" $train $bad
done
for bad in "--lr 1e-50" "--clip-norm 1e-50" "--eps 1e-60" "--weight-decay 1e-50"; do refuses "$bad: is too small" $train $bad; done
for bad in "--lr 1e+39" "--clip-norm 1e+39"; do refuses "$bad: is too large" $train $bad; done
# The default stands for what other settings say. Typed, it is a value like any other.
refuses "--dropout -1: must be in [0, 1)" $train --dropout -1
refuses "--task: is empty" $train --task ""
# config.json is UTF-8, and file names are bytes.
cp pairs.tsv $'p\xe4irs.tsv'
refuses "irs.tsv: is not UTF-8, which config.json is in" $train --train $'p\xe4irs.tsv'
for flag in --vocab-size --batch-tokens --max-epochs --max-updates; do
  for number in -5 0 010 1e3 ""; do refuses "$flag: $number: must be a whole number, at least 1" $train $flag "$number"; done
done
echo '{"vocab_size": -5}' >bad.json
refuses "--vocab-size -5: must be from 1 to 10000000" $train --config bad.json
refuses "--patience: -1: must be a whole number, at least 0" $train --patience -1
for number in -16 0 016; do refuses "--d-model: $number: must be a whole number, at least 1" $train --d-model $number; done
refuses "--best-by luck" $train --best-by luck
refuses "--seed: -1: must be a whole number, at least 0" $train --seed -1
refuses "--seed: 18446744073709551616: must be a whole number, at most 18446744073709551615" $train --seed 18446744073709551616
refuses "--max-updates: 99999999999999999999: must be a whole number, at most 9" $train --max-updates 99999999999999999999

# A sentence that is too long is named by its own line, though pairs were held out before it, and its own file.
for i in $(seq 300); do echo "word $i"; done >long.src
cp long.src long.tgt; sed -i '250s/$/ and this is far too long/' long.tgt
refuses "long.tgt:250: the target has" $train --train-src long.src --train-tgt long.tgt --max-length 8
paste long.tgt long.src >long.tsv
refuses "long.tsv:250: the source has" $train --train long.tsv --max-length 8
refuses "long.tgt:250: the target has" \
  $train --train-src long.src --train-tgt long.src --valid-src long.src --valid-tgt long.tgt --max-length 8
# What is not as somebody might expect is said.
run --run said --task reverse --pairs 300 --d-model 16 --ff 16 --layers 1 --max-updates 4 --warmup 1000 --lr 0.01 --log-every 1
check "a warmup longer than the training" "grep -qx -- '--warmup 1000 is longer than the training: its last update, 4, has the learning rate 4e-05' out && \
  grep -q 'update 4 .* lr 4.00e-05 ' out"
check "validations of a part" "grep -qx 'each validation translates the first 200 of its pairs' out"
printf 'one\teins\nb▅nd two\tzwei ▁\nthree\tdrei <s>\nfour\tvier\n' >reserved.tsv
printf 'one\teins\nfour ☃\tvier\n' >snow.tsv
run --run lost --train reserved.tsv --valid snow.tsv --vocab-size 60 --d-model 16 --ff 16 --layers 1 --max-updates 1 --batch-tokens 3
check "characters that the vocabulary lacks" "grep -qx '1  pairs with characters that the vocabulary lacks: snow.tsv:2' out"
check "pairs longer than an update" "grep -qxE '[1-4] pairs are longer than --batch-tokens: each is an update of its own' out"

# Where memory or threads run out, a line says so.
if [ -z "${DT_SANITIZED:-}" ]; then  # AddressSanitizer has memory of its own
  refuses "out of memory" $train --d-model 1000000 --heads 1
  refuses "memory" timeout 60 bash -c "ulimit -v 95000; exec $train --threads 1 --pairs 2000"
  refuses "--threads 64: only" timeout 60 bash -c "ulimit -v 400000; exec $train --threads 64"
fi
check "nothing was written" "[ ! -e new ]"

# What fails after the folder was made takes the folder away again.
refuses "File too large" bash -c "ulimit -f 64; exec $translate train --run above/new --config settings.json"
check "no folder blocks the next start" "[ ! -e above/new ]"
run --run above/new --config settings.json || fail "after a start that failed: $(cat err)"

report
