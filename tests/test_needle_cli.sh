#!/usr/bin/env bash
# needle from outside: studies that are stopped, killed and resumed, their records, tables and pictures.
# usage: tests/test_needle_cli.sh BUILD_DIR
. "$(dirname "$0")"/cli_helpers.sh
needle=$(dirname "$translate")/needle
export OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive

# --- One training -------------------------------------------------------------------------------------------------
short="--arm diff --max-updates 6 --check-every 3 --check-sequences 2"
$needle train --run one $short >out 2>err || fail "train: $(cat err)"
check "what is trained" "head -1 out | grep -q '^diff, needle1, 361536 parameters: 16 needles in 224 tokens, 8 questions'"
check "a record of one line" "[ \$(wc -l <one/record.json) = 1 ] && grep -q '\"arm\":\"diff\"' one/record.json"
check "lambda of both layers" "head -1 one/lambda.csv | grep -qx 'update,layers.0.self_attn,layers.1.self_attn'"
$needle train --run threads $short --threads 1 >/dev/null 2>&1
check "the same bits with one thread" "cmp one/model.safetensors threads/model.safetensors"
$needle train --run wide --arm softmax-wide-norm --max-updates 3 --check-every 3 --check-sequences 2 >/dev/null 2>&1
check "no lambda in softmax" "[ ! -e wide/lambda.csv ] && grep -q '\"lambda\":\[\]' wide/record.json"
cp one/record.json record.json
$needle train --run one --resume >out 2>err || fail "resuming what is done: $(cat err)"
check "a finished training keeps its cost" "cmp one/record.json record.json"
$needle compare one wide --svg compared.svg >out 2>err || fail "compare: $(cat err)"
check "compare" "grep -q '^one  *diff ' out && grep -q '^wide  *softmax-wide-norm ' out && grep -q '</svg>' compared.svg"
refuses 'there is no arm "diff-v3"' $needle train --run none --arm diff-v3
refuses "--task needle3: there are needle1 and needle2" $needle train --run none --task needle3
check "nothing is left behind" "[ ! -e none ]"
# An easy goal ends a training, also one that was resumed in between.
goal="--goal 0.0001 --max-updates 40 --check-every 1 --check-sequences 16"
$needle train --run goal $goal >out 2>err || fail "goal: $(cat err)"
check "a goal ends it" "grep -qE '^accuracy at its goal for 5 validations: training ends after update [0-9]+' out"
$needle train --run loss --best-by loss --min-lr 0 --max-updates 6 --check-every 1 --check-sequences 2 >out 2>err || fail "by loss: $(cat err)"
check "a goal of one figure is none of another; a rate that ends at 0" "grep -q 'update 6 .*VALID' out && grep -q '\"goal\": 0.0' loss/config.json && grep -q '\"min_lr\": 0.0' loss/config.json"

# --- A study ------------------------------------------------------------------------------------------------------
study="--study quick --updates 20 --jobs 2 --check-sequences 2"
$needle run $study --runs straight >out 2>err || fail "run: $(cat err)"
check "three trainings" "[ \$(wc -l <straight/quick.jsonl) = 3 ] && grep -q '^3 trainings are done' out"
check "each is told" "[ \$(grep -cE '^[1-3]/3  needle1-[a-z-]+-0.001-1-20: never at 99%; accuracy 0\.[0-9]{4} at the end' out) = 3 ]"
$needle run $study --runs straight >out 2>err
check "nothing is run twice" "grep -q '^3 trainings are done' out && [ \$(wc -l <out) = 1 ]"
# Trainings that were scored otherwise cannot be compared: not with records, nor gone on with in their run folders.
refuses " has other --check-sequences than " $needle run $study --check-sequences 4 --runs straight
refuses "straight/needle1-softmax-0.001-1-20/config.json: check_sequences is 2, but the study has 4: remove this run folder" \
  $needle run $study --check-sequences 4 --runs straight --records new.jsonl

# What must not depend on what happened in between: all but the time that it took.
timeless() { sed 's/"cpu_seconds_per_update":[^,]*,//; s/"timed_updates":[^,]*,//; s/"crc32":[^,]*,//' "$1" | sort; }
for signal in TERM INT KILL; do
  rm -rf stopped
  $needle run $study --runs stopped >out 2>err &
  await "grep -qs guessing stopped/*.log"
  sleep 1; kill -$signal $!; wait $! 2>/dev/null; status=$?
  check "$signal ends it" "[ $status = $((128 + $(kill -l $signal))) ]"
  if [ $signal != KILL ]; then
    check "and it says how to go on" "grep -q '^stopped by SIG$signal with 0 of 3 trainings done, and those at work saved; go on with: needle run --study quick --runs stopped --records stopped/quick.jsonl --updates 20 --check-sequences 2' out"
  fi
  await "! pgrep -g 0 -f '^needle train --threads 1 --run stopped/' >/dev/null"  # children end with their parent
  $needle run $study --runs stopped >out 2>err || fail "going on after $signal: $(cat out err)"
  check "after $signal the same records" "[ \"\$(timeless straight/quick.jsonl)\" = \"\$(timeless stopped/quick.jsonl)\" ]"
done
# A record file alone is enough: another machine goes on from it.
head -2 straight/quick.jsonl >two.jsonl
$needle run $study --runs elsewhere --records two.jsonl >out 2>err || fail "going on elsewhere: $(cat err)"
check "one training was left" "[ \$(ls -d elsewhere/*/ | wc -l) = 1 ] && [ \"\$(timeless two.jsonl)\" = \"\$(timeless straight/quick.jsonl)\" ]"
# Some arms first, the others later: the same records.
$needle run $study --runs some --arms diff softmax >out 2>err || fail "two arms: $(cat err)"
check "two arms" "grep -q '^2 trainings are done' out && [ \"\$(timeless some/quick.jsonl)\" = \"\$(timeless straight/quick.jsonl | grep -v wide)\" ]"
$needle run $study --runs some >out 2>err || fail "the third: $(cat err)"
check "the third arm" "grep -q '^3/3  needle1-softmax-wide-norm' out && [ \"\$(timeless some/quick.jsonl)\" = \"\$(timeless straight/quick.jsonl)\" ]"
refuses "--arms diff-v2: the study quick has no such arm" $needle run $study --runs some --arms diff diff-v2
# A training that fails is named, and the others go on.
mkdir -p broken/needle1-diff-0.001-1-20 && echo '{}' >broken/needle1-diff-0.001-1-20/config.json
$needle run $study --runs broken >out 2>err; status=$?
check "a failure is told" "[ $status = 2 ] && grep -q 'needle1-diff-0.001-1-20: FAILED, see broken/' out && grep -q '1 trainings failed' err"
check "the others are done" "[ \$(wc -l <broken/quick.jsonl) = 2 ]"
# One that goes astray counts in the report, as one that never came there.
$needle train --run astray $short --lr 1e20 --warmup 1 >out 2>err; status=$?
check "a training that goes astray has a code of its own" "[ $status = 3 ] && grep -q 'training has gone astray' err"
{ grep -v '"arm":"diff"' straight/quick.jsonl
  echo '{"task":"needle1","arm":"diff","lr":0.001,"seed":1,"max_updates":20,"astray":true}'; } >astray.jsonl
$needle run $study --runs astray --records astray.jsonl >out 2>err
check "and is done: it would do so again" "[ \$(wc -l <out) = 1 ] && grep -q '^3 trainings are done' out"
$needle report --study quick --updates 20 --records astray.jsonl >out 2>err || fail "a report with one astray: $(cat err)"
check "the report tells of it" "grep -q '^Study .* 3 of 3 reported trainings are done; .*; seeds that went astray: diff 1\.$' out"
echo nonsense >>two.jsonl
refuses "two.jsonl:4: not JSON: " $needle run $study --runs elsewhere --records two.jsonl
refuses "--study second: is none of quick, first, confirmatory" $needle run --study second
refuses "--jobs" $needle run --jobs 0

# --- The report ---------------------------------------------------------------------------------------------------
$needle report --study quick --updates 20 --records straight/quick.jsonl --pictures pictures >out 2>err || fail "report: $(cat err)"
check "every arm in the table" "(for arm in softmax softmax-wide-norm diff; do grep -qE \"^\\| \$arm \\| 0.001 \\| 1 \\| > 20 \" out || exit 1; done)"
check "the machine is told" "grep -q '3 of 3 reported trainings are done; 3 on one core of ' out"
for picture in curves arms tests attention magnitudes; do
  check "$picture is well-formed" "well_formed pictures/quick-$picture.svg"
done
$needle report --study quick --records straight/quick.jsonl --pictures pictures >out 2>err
check "records of other trainings are told" "grep -q '^Study .*0 of 3 reported trainings are done; 3 records are of other trainings' out"
# A training that was stopped after its last update has no cost. All arms but diff solve the task here.
sed 's/"crc32":[^,]*,//; s/"cpu_seconds_per_update":[^,]*,/"cpu_seconds_per_update":null,/; /"arm":"diff"/!s/"as trained":{"accuracy":[^,]*,/"as trained":{"accuracy":1,/' \
  straight/quick.jsonl >null.jsonl
$needle report --study quick --updates 20 --records null.jsonl --pictures pictures >out 2>err || fail "no cost: $(cat err)"
check "no cost is left empty" "[ \$(grep -cE '^\\| [a-z-]+ \\| 0.001 \\| .* \\| 36[0-9]{4} \\|  \\|$' out) = 3 ]"
check "tables are of the seeds that solved the task" "grep -qx '| test | softmax (1) | softmax-wide-norm (1) |' out && grep -q 'so many of each arm; none of diff\.$' out"
# Whatever rates the arms have, diff is told beside its control at one rate and seed.
{ grep -v '"arm":"softmax"' straight/quick.jsonl | sed 's/"crc32":[^,]*,//; s/"curve":\[\[50,[^,]*,/"curve":[[50,1,/; s/"curve":\[\[20,[^,]*,/"curve":[[20,1,/'
} | sed '/"arm":"diff"/s/"hidden":\[\[[^,]*,/"hidden":[[1000,/; /"arm":"diff"/!s/"hidden":\[\[[^,]*,/"hidden":[[500,/' >pairs.jsonl
$needle report --study quick --updates 20 --records pairs.jsonl --pictures pictures >out 2>err || fail "pairs: $(cat err)"
check "pairs at one rate" "grep -qE '^\| 1 \| smaller in [01], median [0-9.]+ times \| .* \| smaller in 0, median 2\.00 times \| smaller in [01]' out"
# A verdict before all seeds are done would be a choice of when to stop.
for arm in diff softmax-wide-norm; do for seed in 1 2 3; do
  grep "\"arm\":\"$arm\"" straight/quick.jsonl | sed 's/"crc32":[^,]*,//; s/needle1/needle2/; s/"max_updates":20/"max_updates":5000/' |
    sed "s/\"seed\":1/\"seed\":$seed/; s/\"as trained\":{\"accuracy\":[^,]*,/\"as trained\":{\"accuracy\":$([ $arm = diff ] && echo 1 || echo 0),/"
done; done >six.jsonl
$needle report --study confirmatory --records six.jsonl --pictures pictures >out 2>err || fail "confirmatory: $(cat err)"
check "what is not done is told" "grep -q '; of 12 seeds there are only: diff 3, softmax-wide-norm 3, softmax-wide 0, diff-nonorm 0, diff-v2 0\.$' out && grep -q 'diff (3 of 12)' pictures/confirmatory-curves.svg"
check "seed by seed" "grep -qx 'Of the seeds that both have, diff alone solved 3 and softmax-wide-norm alone 0\.' out"
check "no verdict yet" "grep -qx \"diff solved 3 of 3, softmax-wide-norm 0 of 3: Fisher's exact test is made when all 12 seeds of both are done\" out"
for seed in $(seq 4 12); do sed -n "1p;4p" six.jsonl | sed "s/\"seed\":1,/\"seed\":$seed,/"; done >>six.jsonl
$needle report --study confirmatory --records six.jsonl --pictures pictures >out 2>err || fail "all seeds: $(cat err)"
check "a verdict" "grep -qx \"diff solved 12 of 12, softmax-wide-norm 0 of 12: Fisher's exact test, one-sided: p = 0.0000, significant at 0.05\" out"
sed 's/"max_updates":5000/"max_updates":20/' six.jsonl >short.jsonl
$needle report --study confirmatory --updates 20 --records short.jsonl --pictures pictures >out 2>err || fail "short: $(cat err)"
check "no verdict on another study" "grep -q 'not the updates of the study that was fixed: there is no test' out && ! grep -q Fisher out"
sed '2!b; s/"crc32":[^,]*,//; s/"check_sequences":2/"check_sequences":4/' straight/quick.jsonl >mixed.jsonl
refuses "has other --check-sequences than needle1-" $needle report --study quick --updates 20 --records mixed.jsonl
refuses "nothing.jsonl: there is no record" $needle report --study first --records nothing.jsonl
# Whatever a record lacks, or has of another kind, the file is named.
for broken in 's/"curve":/"curves":/' 's/"hidden":/"hiddn":/' 's/"curve":\[\[/"curve":[["x",/' 's/"lr":/"rate":/'; do
  sed "s/\"crc32\":[^,]*,//; s/\"as trained\":{\"accuracy\":[^,]*,/\"as trained\":{\"accuracy\":1,/; $broken" straight/quick.jsonl >broken.jsonl
  $needle report --study quick --updates 20 --records broken.jsonl --pictures pictures >out 2>err
  check "$broken" "[ \$? = 2 ] && grep -qE '^needle: broken.jsonl(:1)?: is no record of such a training: (key|type)' err"
done
$needle report --study quick --updates 20 --records straight/quick.jsonl --pictures /proc/none >out 2>err
check "no folder for pictures" "[ \$? = 2 ] && grep -qx 'needle: cannot make /proc/none: No such file or directory' err"
report
