#!/usr/bin/env bash
# translate train from outside: checkpoints, interruptions and resumption, failing disks and damaged files.
# usage: tests/test_train_cli.sh BUILD_DIR
. "$(dirname "$0")"/cli_helpers.sh
export OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive

small="--d-model 16 --ff 16 --layers 1 --task reverse --pairs 300"
run() { $translate train "$@" >out 2>err; }
# The same training from its beginning to its end, whatever happened in between? The log's times may differ.
untimed() { cut -d, -f1-5,7-10 "$1"/train_log.csv; }
same_run() {
  local file
  for file in config.json spm.model model.safetensors last.safetensors lambda.csv loss.svg \
    $(cd "$1" && ls average.safetensors checkpoints/* 2>/dev/null); do
    cmp "$1/$file" "$2/$file" || return 1
  done
  diff <(cd "$1" && find . | sort) <(cd "$2" && find . | sort) && diff <(untimed "$1") <(untimed "$2")
}

# --- Checkpoints and their average -------------------------------------------------------------------------------
long="--d-model 16 --ff 16 --layers 1 --task reverse --pairs 3000 --max-updates 400 --save-every 7 --average 3 --log-every 10 --dropout 0.1 --label-smoothing 0.1 --lr 0.01"
began=$(date +%s%N)
run --run straight $long || fail "training: $(cat err)"
took=$((($(date +%s%N) - began) / 1000000))  # ms
check "the last three checkpoints" "[ \"\$(ls straight/checkpoints | tr '\n' ' ')\" = \
  'update-0000392.safetensors update-0000399.safetensors update-0000400.safetensors ' ]"
check "the average is told" "grep -qE '^average of the last 3 checkpoints  VALID  loss [0-9.]+ ' out"
check "lambda of three attentions" "head -1 straight/lambda.csv | \
  grep -qx 'update,encoder.layers.0.self_attn,decoder.layers.0.self_attn,decoder.layers.0.cross_attn'"
check "at every validation" "[ \$(wc -l <straight/lambda.csv) = \$((1 + \$(grep -c ^valid, straight/train_log.csv))) ]"
for model in best last average; do
  echo 'a b c d e' | $translate translate --run straight --model $model >$model 2>/dev/null || fail "--model $model"
done
check "three models" "! cmp -s straight/model.safetensors straight/average.safetensors"
refuses "--model" $translate translate --run straight --model worst
cp -r straight nameless; rm nameless/average.safetensors
refuses "nameless/average.safetensors: no such file" $translate translate --run nameless --model average
cp -r straight fewer; rm fewer/checkpoints/update-0000399.safetensors
refuses "fewer/checkpoints/update-0000399.safetensors: is missing, and the average at the end counts on it" \
  $translate train --run fewer --resume
cp -r straight logless; rm logless/train_log.csv*
run --run logless --resume || fail "without a log: $(cat err)"
check "a log that is gone is told" "grep -qx 'logless/train_log.csv is gone: it begins anew, and so do the charts' out"

# --- Killed and resumed, a training ends with the same bits ------------------------------------------------------
kills=0
arguments() { if [ -e killed/config.json ]; then echo "--resume"; else rm -rf killed; echo "$long"; fi; }
while [ $kills -lt 20 ]; do
  arguments=$(arguments)
  $translate train --run killed $arguments >/dev/null 2>&1 &
  sleep "$(printf '%d.%03d' $((ms = RANDOM % (took / 6 + 1), ms / 1000)) $((ms % 1000)))"
  kill -KILL $! 2>/dev/null
  wait $! 2>/dev/null
  case $? in
    137) kills=$((kills + 1)) ;;
    0) same_run straight killed || fail "other bits after $kills kills"; rm -rf killed ;;  # the end came first
    *) fail "resuming after $kills kills"; break ;;
  esac
done
run --run killed $(arguments) || fail "resuming after kills: $(cat err)"
check "killed at 20 random moments, the same bits" "same_run straight killed"

for signal in INT TERM; do
  status=$((128 + $(kill -l $signal)))
  rm out
  $translate train --run stopped_$signal $long --threads 1 >out 2>/dev/null &
  await "grep -qs 'update 50 ' out"
  kill -$signal $!
  wait $!
  check "SIG$signal: exit code" "[ $? = $status ]"
  check "SIG$signal: says how to go on" \
    "tail -1 out | grep -qE '^stopped by SIG$signal after update [0-9]+; go on with: translate train --run stopped_$signal --resume$'"
  run --run stopped_$signal --resume || fail "resuming after SIG$signal: $(cat err)"
  check "SIG$signal: the same bits" "same_run straight stopped_$signal"
done

# A torn last line and lines past the checkpoint are written again.
cp -r stopped_INT torn
printf 'train,99,9999,1,1,1,1,1,,,1\ntrain,99,99' >>torn/train_log.csv
run --run torn --resume
check "the log goes on without a gap or double line" "same_run straight torn"

# Columns of a log that this task would not begin today stay.
cp -r stopped_INT older; sed -i '1s/exact,chrf/bleu,exact/' older/train_log.csv; rm older/train_log.csv.crc32
run --run older --resume --log-every 9
check "the columns of an older log" "head -1 older/train_log.csv | grep -q ',bleu,exact,seconds,chrf\$'"

# --- A full disk, limits, other hands ----------------------------------------------------------------------------
run --run half $small --max-updates 40 --schedule inverse-sqrt --warmup 5
cp -r half full
ln -s /dev/full full/last.safetensors.tmp
refuses_after() {  # as refuses, but it may have reported progress
  local part=$1 code=2; shift
  if [[ $1 = code=* ]]; then code=${1#code=}; shift; fi
  "$@" >out 2>err; local status=$?
  sed -i '/^OpenBLAS chose/d' err
  if [ $status = $code ] && [ "$(wc -l <err)" = 1 ] && grep -qE -- "$part" err; then ok
  else fail "$* -> exit $status, wanted $code and \"$part\"; stderr:"; cat err >&2; fi
}
more="--resume --max-updates 60"
refuses_after 'cannot write full/last.safetensors: No space left' $translate train --run full $more
check "the earlier checkpoint survives a full disk" "cmp -s half/last.safetensors full/last.safetensors"
run --run full --resume || fail "after a full disk: $(cat err)"
cp -r half limited
refuses_after 'cannot write limited/last.safetensors: File too large' \
  bash -c "ulimit -f $(($(stat -c %s half/model.safetensors) / 1024 + 8)); exec $translate train --run limited $more"
check "and a limit" "cmp -s half/last.safetensors limited/last.safetensors"
run --run limited --resume || fail "after a limit: $(cat err)"
run --run more $small --max-updates 60 --schedule inverse-sqrt --warmup 5
for run in full limited; do
  check "$run: goes on with the same bits" \
    "cmp $run/last.safetensors more/last.safetensors && cmp $run/config.json more/config.json"
done
ln -sf /dev/full full/train_log.csv.tmp
refuses_after 'full/train_log.csv: cannot write: No space left' $translate train --run full --resume

cp -r half locked
flock locked/lock sleep 60 & holder=$!
await '! flock -n locked/lock true'
refuses "locked: another training is at work" $translate train --run locked $more
kill $holder; wait $holder 2>/dev/null
$translate train --run together $small --max-updates 100000 >/dev/null 2>&1 & first=$!
await '[ -e together/config.json ]'
refuses "together: another training is at work" $translate train --run together --resume
kill -KILL $first; wait $first 2>/dev/null

# Nobody but root may write there; root may always.
cp -r half readonly; chmod a-w readonly readonly/*
chmod 755 "$dir"
as_user=; [ "$(id -u)" = 0 ] && as_user="setpriv --reuid 65534 --regid 65534 --clear-groups"
cp "$translate" ./translate_copy
refuses "readonly: cannot write into this folder: Permission denied" $as_user ./translate_copy train --run readonly $more
refuses "readonly/new: cannot make this folder" $as_user ./translate_copy train --run readonly/new $small

refuses "stdout: is closed" bash -c "$translate train --run closed $small --max-updates 1 >&-"
for command in "train --run filled $small --max-updates 1" "test --run half" "train --help"; do
  bash -c "$translate $command >/dev/full" 2>err
  check "a full stdout: $command" "[ $? = 2 ] && grep -q 'stdout: cannot write: No space left' err"
done

# --- Checkpoints that do not fit ---------------------------------------------------------------------------------
refuses "nowhere: holds no run to resume" $translate train --run nowhere --resume
mkdir nothing
refuses "nothing: holds no run to resume" $translate train --run nothing --resume
cp -r half wide; sed -i 's/"d_model": 16/"d_model": 32/' wide/config.json
refuses "wide/last.safetensors: does not fit wide/config.json" $translate train --run wide --resume
# The checkpoint knows the settings that it was made with; those that --resume may change are told.
edited() { rm -rf edited; cp -r half edited; sed -i "s|\"$1\": [^,]*|\"$1\": $2|" edited/config.json; }
for change in 'lr 0.03 0.003' 'beta1 0.8 0.9' 'eps 1e-07 1e-08' 'heads 4 2' 'best_by "chrf" "loss"' \
  'clip_norm 2.0 1.0' 'max_length 99 256' 'schedule "cosine" "inverse-sqrt"' 'warmup 6 5' 'average 1 0' 'style "vaswani" "llama"'; do
  set -- $change
  edited "$1" "$2"
  refuses "edited/last.safetensors: does not fit edited/config.json: $1 is $2, but was $3" $translate train --run edited --resume
  refuses "edited/model.safetensors: does not fit edited/config.json: $1 is $2, but was $3" $translate translate --run edited
done
for change in 'pairs 301 300' 'seed 2 1'; do
  set -- $change
  edited "$1" "$2"
  refuses "(config.json: $1 is $2, but was $3)" $translate train --run edited --resume
done
edited log_every 9
check "log_every may change" "run --run edited --resume && grep -qx 'log_every is 9, and was 50' out"
edited max_updates 44
check "and the end" "run --run edited --resume && grep -qx 'max_updates is 44, and was 40' out && grep -q '  update 44  VALID' out"
edited lr 0.03
LC_ALL=C sed -i 's/"crc32":/"no_32":/; s/"settings":/"no_tings":/' edited/last.safetensors  # as an older version wrote it
check "of an older checkpoint the settings are believed" \
  "run --run edited $more && grep -q 'older version and does not tell its settings: config.json is believed' out"
edited lr 0.03
LC_ALL=C sed -i 's/"crc32":/"no_32":/; s/"settings":"{/"settings":"[/' edited/last.safetensors
refuses "edited/last.safetensors: the settings in its metadata: not JSON:" $translate train --run edited --resume
cp -r half words; sed -i 's/"task": "reverse"/"task": "numbers"/' words/config.json
refuses "words/last.safetensors: the data to train or validate on are no longer those" $translate train --run words --resume
run --run german --task numbers --pairs 300 --d-model 16 --ff 16 --layers 1 --max-updates 1
cp -r half mixed; cp german/spm.model mixed/
refuses "mixed/last.safetensors: belongs to another vocabulary than spm.model" $translate train --run mixed --resume
refuses "mixed/model.safetensors: belongs to another vocabulary than spm.model" $translate translate --run mixed
cp -r half cut; head -c 3000 half/last.safetensors >cut/last.safetensors
refuses "cut/last.safetensors" $translate train --run cut --resume
refuses "--resume cannot change lr from 0.003 to 0.5, seed from 1 to 2" \
  $translate train --run half --resume --lr 0.5 --seed 2 --log-every 1
run --run wave $small --max-updates 5
refuses "--resume cannot change max_updates from 5 to 9 (a cosine schedule is made for its last update" $translate train --run wave --resume --max-updates 9
run --run longer $small --schedule inverse-sqrt --max-epochs 1; made=$(sed -n 's/^epoch 1  update \([0-9]*\)  VALID.*/\1/p' out)
run --run longer --resume --max-updates $((made + 3))
check "more updates than the epochs of before" "grep -q \"  update $((made + 3))  VALID\" out"
refuses "half: the run has made 40 updates already: its new end must come later than at 30" $translate train --run half --resume --max-updates 30
cp -r half noted; sed -i '2s/,[0-9.]*,/,n\/a,/3' noted/train_log.csv
refuses 'noted/train_log.csv: it is damaged, or was changed by others' $translate train --run noted $more
rm noted/train_log.csv.crc32
refuses 'noted/train_log.csv: "n/a" is no number' $translate train --run noted $more
cp -r half dropout; sed -i 's/"dropout": 0.0/"dropout": 1.5/' dropout/config.json
refuses 'dropout/config.json: --dropout 1.5: must be in' $translate train --run dropout --resume
refuses 'dropout/config.json: --dropout 1.5: must be in' $translate translate --run dropout
cp -r half unbegun; rm unbegun/config.json
refuses "unbegun: holds a run that has no config.json" $translate train --run unbegun $small
cp -r straight rotated; cp rotated/checkpoints/update-0000392.safetensors rotated/checkpoints/update-0000385.safetensors
check "killed before an old checkpoint was removed, the average is of the last ones only" \
  "run --run rotated --resume && same_run straight rotated"
mkdir starting
refuses "starting: another training is at work" flock starting/lock $translate train --run starting $small
refuses "--config" $translate train --run half --resume --config half/config.json
mkdir busy; touch busy/notes
refuses "busy: is not empty" $translate train --run busy $small
check "resumed at its end, a run stays as it is" \
  "cp -r half whole && run --run whole --resume && cmp half/last.safetensors whole/last.safetensors"

# --- Training that goes astray, stops early, or learns one batch -------------------------------------------------
refuses_after '^translate: update [0-9]+: loss [-0-9.naif]+, gradient norm [-0-9.naif]+: training has gone astray' \
  code=3 $translate train --run astray $small --lr 1e20 --weight-decay 0 --warmup 1
check "and keeps the last checkpoint" "run --run astray --resume --log-every 1; grep -q 'going on after update' out"
cp -r half broken
printf '\xff%.0s' {1..64} | dd of=broken/model.safetensors bs=1 conv=notrunc status=none \
  seek=$(($(stat -c %s broken/model.safetensors) - 64))
echo 'a b c' >input
refuses "broken/model.safetensors: the file is damaged" $translate translate --run broken
LC_ALL=C sed -i 's/"crc32":/"no_32":/' broken/model.safetensors  # as if another program had written it
check "a model of NaN" "! $translate translate --run broken <input >out 2>err && [ ! -s out ] && \
  grep -q 'the model.s scores are not finite' err"

run --run patient $small --lr 1e-9 --best-by exact --patience 2 --max-epochs 20
check "patience" "grep -q '^no better for 2 validations: training ends before update' out && \
  [ \$(grep -c ^valid, patient/train_log.csv) = 3 ]"
cp -r patient again; run --run again --resume
check "stays over" "cmp patient/last.safetensors again/last.safetensors"
run --run again --resume --patience 4
check "unless there is more" "[ \$(grep -c ^valid, again/train_log.csv) = 5 ]"
seq 12 | sed 's/.*/word & here\tdas Wort & hier/' >words.tsv
run --run sentences --train words.tsv --vocab-size 40 --d-model 16 --ff 16 --layers 1 --max-updates 2 --best-by chrf
check "sentences have BLEU and chrF" "grep -qE 'VALID  loss [0-9.]+  perplexity [0-9.]+  BLEU [0-9.]+  chrF [0-9.]+  after' out && \
  grep -q ',gradient_norm,bleu,chrf,seconds\$' sentences/train_log.csv"
run --run single $small --max-updates 2 --best-by bleu
check "BLEU of single answers, if asked for" "grep -qE 'exact match [0-9.]+%  chrF [0-9.]+  BLEU [0-9.]+' out"
run --run one --overfit-one-batch --task reverse --pairs 500 --batch-tokens 128 --d-model 32 --ff 64 --layers 1 \
  --max-epochs 4 --warmup 20 --lr 0.01
check "one batch is learned by heart" "grep VALID out | tail -1 | grep -q 'exact match 100.0%'"

report
