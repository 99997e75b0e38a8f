#!/usr/bin/env bash
# language_model study from outside: stopped, killed and resumed, its records, tables and pictures.
# usage: tests/test_study_cli.sh BUILD_DIR
. "$(dirname "$0")"/cli_helpers.sh
language_model=$(dirname "$translate")/language_model
export OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive

for i in $(seq 60); do printf 'line %d: the cat sat on mat %d.\n' "$i" $((i * 7 % 13)); done >cats.txt
echo '{"context": 16, "d_model": 64, "ff": 64, "layers": 1, "batch_tokens": 256, "vocab_size": 0,
       "warmup": 4, "check_every": 10}' >tiny.json
# Two arms: three rates on two seeds, then two seeds at the rate that was best.
study="$language_model study run --text cats --train cats.txt --config tiny.json --arms softmax-wide-norm diff --seeds 2 --updates 20"

# --- A study ------------------------------------------------------------------------------------------------------
$study --runs straight --jobs 2 >out 2>err || fail "run: $(cat err)"
check "16 trainings" "[ \$(wc -l <straight/cats.jsonl) = 16 ] && tail -1 out | grep -qx '16 trainings are done; their records are in straight/cats.jsonl'"
check "each is told" "[ \$(grep -cE '^ *[0-9]+/16  cats-[a-z-]+-0\.[0-9]+-[0-9]+-20: loss [0-9.]+, [0-9.]+ bits per byte$' out) = 16 ]"
check "two arms, two reported seeds" "[ \$(grep -cE '\"seed\":[12],' straight/cats.jsonl) = 4 ]"
$study --runs straight >out 2>err
check "nothing is run twice" "[ \$(wc -l <out) = 1 ]"

# What must not depend on what happened in between: all but the time that it took.
timeless() { sed 's/"cpu_seconds_per_update":[^,]*,//; s/"crc32":[^,]*,//' "$1" | sort; }
for signal in TERM KILL; do
  $study --runs stopped --jobs 2 >out 2>err &
  await "[ \$(cat stopped/cats.jsonl 2>/dev/null | wc -l) -ge 3 ]"
  kill -$signal $!; wait $! 2>/dev/null; status=$?
  check "$signal ends it" "[ $status = $((128 + $(kill -l $signal))) ]"
  if [ $signal = TERM ]; then
    check "and it says how to go on" "grep -qE '^stopped by SIGTERM with [0-9]+ of 16 trainings done, and those at work saved; go on with: language_model study run --text cats --train cats.txt --arms softmax-wide-norm diff --config tiny.json --seeds 2 --updates 20 --runs stopped --records stopped/cats.jsonl$' out"
    go_on=$(sed -n 's/.*go on with: language_model//p' out)
  fi
  await "! pgrep -g 0 -f '^language_model train --threads 1 --run stopped/' >/dev/null"  # children end with their parent
  $language_model $go_on >out 2>err || fail "going on after $signal: $(cat out err)"
  check "after $signal the same records" "[ \"\$(timeless straight/cats.jsonl)\" = \"\$(timeless stopped/cats.jsonl)\" ]"
  rm -rf stopped
done
# Two studies cannot be at work with the same records, nor one while trainings of another, which was killed, still save.
long="$study --updates 3000 --jobs 1 --runs long"
$long >out 2>err & runner=$!
await "grep -qs VALID long/*.log"
refuses "long/cats.jsonl: a study is at work with these records" $long
child=$(pgrep -P $runner)
kill -STOP $child; kill -KILL $runner; wait $runner 2>/dev/null
refuses "long/cats.jsonl: a study is at work with these records" $long
kill -CONT $child
await "! pgrep -g 0 -f '^language_model train --threads 1 --run long/' >/dev/null"
check "then it can go on" "grep -q 'stopped by SIGTERM after update' long/*.log"
# A record file alone is enough: another machine goes on from it.
head -15 straight/cats.jsonl >some.jsonl
$study --runs elsewhere --records some.jsonl >out 2>err || fail "going on elsewhere: $(cat err)"
check "one training was left" "[ \$(ls -d elsewhere/*/ | wc -l) = 1 ] && [ \"\$(timeless some.jsonl)\" = \"\$(timeless straight/cats.jsonl)\" ]"
# A training that had ended when all was killed is not trained again: its record is taken from its run folder.
head -15 straight/cats.jsonl >some.jsonl
$study --runs straight --records some.jsonl >out 2>err || fail "a record that was left: $(cat err)"
check "taken from the run folder, with its time" "cmp some.jsonl straight/cats.jsonl"
# One that lacks what is told of it is not kept, and named.
head -15 straight/cats.jsonl >some.jsonl
sed -i 's/"loss":/"lost":/' straight/*/record.json
refuses "/record.json: is no record of such a training: key 'loss' not found" $study --runs straight --records some.jsonl
check "the others stay" "[ \$(wc -l <some.jsonl) = 15 ]"
sed -i 's/"lost":/"loss":/' straight/*/record.json
# What was begun with other settings is not gone on with, nor is its record taken.
sed 's/"ff": 64/"ff": 32/' tiny.json >narrow.json
refuses "/config.json: ff is 64, but the study has 32: remove this run folder, or name other ones with --runs" \
  $study --config narrow.json --runs straight --records new.jsonl
# A signal at the moment when a training ends: the others are still to be done.
for attempt in 1 2 3 4 5 6; do
  rm -rf between
  $study --runs between --jobs 1 >out 2>err &
  await "[ -s between/cats.jsonl ]"
  kill -TERM $!; wait $! 2>/dev/null; status=$?
  check "stopped between two trainings" "[ $status = 143 ] && ! grep -q 'trainings are done' out"
done
# Those that go astray are done, and say of which text and settings they were. Here all do: an embedding that gets no
# gradient is moved by its mean over almost nothing.
echo '{"context": 16, "d_model": 64, "ff": 64, "layers": 1, "batch_tokens": 256, "vocab_size": 0, "untied": true,
       "beta2": 0, "eps": 1e-30, "warmup": 1, "check_every": 1, "max_epochs": 1}' >wild.json
wild="$language_model study run --text cats --train cats.txt --config wild.json --arms diff --seeds 1 --updates 20 --runs wild"
$wild --jobs 2 >out 2>err || fail "astray: $(cat err)"
check "it is told, and done" "[ \$(grep -c '/7  cats-diff-[-0-9.]*-20: went astray$' out) = 7 ] && [ \$(wc -l <wild/cats.jsonl) = 7 ]"
$wild >out 2>err || fail "astray again: $(cat err)"
check "and is not run again" "[ \$(wc -l <out) = 1 ]"
# A rate at which one goes astray is not chosen, though it was the best.
$language_model study report straight/cats.jsonl --seeds 2 --updates 20 --pictures pictures >before 2>err || fail "report: $(cat err)"
common=$(grep -oE '"data":"[0-9a-f]+"' straight/cats.jsonl | head -1),$(grep -oE '"settings":\{[^}]*\}' straight/cats.jsonl | head -1)
mkdir astray
{ grep -v '"arm":"diff".*"lr":0.012,.*"seed":101,' straight/cats.jsonl
  echo "{\"task\":\"cats\",\"arm\":\"diff\",\"lr\":0.012,\"seed\":101,\"max_updates\":20,\"astray\":true,$common}"; } >astray/cats.jsonl
$study --runs straight --records astray/cats.jsonl >out 2>err || fail "one astray: $(cat err)"
$language_model study report astray/cats.jsonl --seeds 2 --updates 20 --pictures pictures >out 2>err || fail "report: $(cat err)"
check "another rate was chosen" "grep -qE '^\\| diff \\| [0-9., ]+ \\| [0-9., ]+ \\| astray, [0-9.]+ \\| 0\.00[36] \\|$' out && grep -qE '^\\| diff \\|.* 0\.012 \\|$' before"

# --- The report ---------------------------------------------------------------------------------------------------
$language_model study report straight/cats.jsonl --seeds 2 --updates 20 --pictures pictures >out 2>err || fail "report: $(cat err)"
check "how many are done" "grep -qE '^4 of 12 reported trainings are done; 4 on one core of .*, of 20 updates each\.$' out"
check "both arms" "(for arm in softmax-wide-norm diff; do grep -qE \"^\\| \$arm \\| 0\.[0-9]+ \\| 2 \\| [0-9]+ \\| [0-9.]+ ± \" out || exit 1; done)"
check "the primary difference alone" "[ \$(grep -c '^| [a-z-]* − [a-z-]* |' out) = 3 ] && grep -qE '^\\| diff − softmax-wide-norm \\| .* \\| 2 \\| [+-][0-9.]+ \\| [+-][0-9.]+ to [+-][0-9.]+ \\|' out"
check "at each validation" "grep -qE '^\\| diff − softmax-wide-norm \\| ([+-][0-9.]+ ± [0-9.]+ \\| ?){2}$' out"
check "what it says" "grep -q '^The primary difference, diff − softmax-wide-norm on cats: its interval lies ' out"
check "loss by position" "grep -qE '^\\| 8-15 \\| [0-9.]+ \\| [0-9.]+ \\|$' out"
check "and what differs there" "grep -qE '^\\| diff − softmax-wide-norm \\| ([+-][0-9.]+ ± [0-9.]+ \\| ?){6}$' out"
for picture in differences cats-positions cats-position-differences; do
  check "$picture is well-formed" "well_formed pictures/$picture.svg"
done
grep '"seed":10[12],' straight/cats.jsonl >tuning.jsonl
$language_model study report tuning.jsonl --updates 20 >out 2>err || fail "report of tuning alone: $(cat err)"
check "before any seed is done" "grep -q '^0 of 60 reported trainings' out && ! grep -q 'primary' out"
sed 's/"crc32":[^,]*,//; s/"task":"cats"/"task":"dogs"/' straight/cats.jsonl >dogs.jsonl
$language_model study report straight/cats.jsonl dogs.jsonl --seeds 2 --updates 20 --pictures pictures >out 2>err
check "two texts" "[ \$(grep -cE '^## (cats|dogs): ' out) = 2 ] && grep -q 'dogs, equal time' pictures/differences.svg"

# --- What is refused ----------------------------------------------------------------------------------------------
refuses "there is no record" $language_model study report nothing.jsonl
for broken in 's/"curve":/"curves":/' 's/"settings":/"setting":/' 's/"seed":/"seeds":/'; do
  sed "s/\"crc32\":[^,]*,//; $broken" straight/cats.jsonl >broken.jsonl
  $language_model study report broken.jsonl --seeds 2 --updates 20 --pictures pictures >out 2>err
  check "$broken" "[ \$? = 2 ] && grep -qE '^language_model: broken.jsonl(:1)?: is no record of such a training: key' err"
done
(head -1 dogs.jsonl; sed '1d; s/"data":"/"data":"0/' dogs.jsonl) >mixed.jsonl
refuses "mixed.jsonl: the text of dogs-" $language_model study report mixed.jsonl
sed 's/"ff": 64/"ff": 48/' tiny.json >other.json
refuses "straight/cats.jsonl: the settings of cats-" $language_model study run --text cats --train cats.txt --config other.json --runs straight
echo another >>cats.txt
refuses "straight/cats.jsonl: the text of cats-" $study --runs straight
refuses "missing.txt: no such file or folder" $language_model study run --text cats --train missing.txt
refuses "--train needs --text" $language_model study run --train cats.txt
refuses "--text a/b: letters, digits" $language_model study run --text a/b --train cats.txt
refuses "--train is missing, and difftensor's own sources" $language_model study run
refuses "--arms: diff-v3" $language_model study run --arms diff-v3
refuses "--jobs" $language_model study run --jobs 0
refuses "--job: unknown; did you mean --jobs?" $language_model study run --job 1
refuses "repor: unknown; did you mean report?" $language_model study repor
echo '[1]' >list.json
refuses "list.json: not a JSON object of settings" $language_model study run --text cats --train cats.txt --config list.json
refuses '"contxt" is no setting' $language_model study run --text cats --train cats.txt --config <(echo '{"contxt": 8}')
check "nothing is left behind" "[ ! -e runs ]"

report
