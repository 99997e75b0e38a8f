#!/usr/bin/env bash
# The language_model program from outside: runs, resumption, sampling, evaluation, and every kind of bad input.
# usage: tests/test_language_cli.sh BUILD_DIR
language_model=$(realpath "$1")/language_model sources=$(realpath "$(dirname "$0")")/..
. "$(dirname "$0")"/cli_helpers.sh
export OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive

for i in $(seq 60); do printf 'line %d: the cat sat on mat %d.\n' "$i" $((i * 7 % 13)); done >cats.txt
mkdir -p notes/deep; sed 's/cat/dog/' cats.txt >notes/dogs.txt; sed 's/cat/owl/' cats.txt >notes/deep/owls.md; printf '\xff\n' >notes/picture.txt
small="--context 32 --d-model 16 --ff 16 --layers 1 --batch-tokens 256 --log-every 5"
run() { $language_model train "$@" >out 2>err; }

# --- A run from start to end -------------------------------------------------------------------------------------
run --run run --train cats.txt notes $small --vocab-size 100 --max-epochs 2 || fail "training: $(cat err)"
for file in config.json spm.model model.safetensors train_log.csv lambda.csv loss.svg attention.svg loss_by_position.svg; do
  check "run/$file" "[ -s run/$file ]"
done
check "summary" "head -1 out | grep -qE '^[0-9]+ tokens of 3 files to train on, [0-9]+ to validate on; 100 subwords; diff attention, llama style, [0-9]+ parameters; 2 threads$'"
check "validation line" "grep -qE 'VALID  loss [0-9.]+  perplexity [0-9.]+  accuracy [0-9.]+%  after' out"
check "bits and a sample" "grep -qE '^  [0-9.]+ bits per byte. It writes:$' out"
check "lambda of the layer" "head -1 run/lambda.csv | grep -qx 'update,layers.0.self_attn'"
run --run again --train cats.txt notes $small --vocab-size 100 --max-epochs 2 --threads 1
check "one seed, the same bits, at any number of threads" "cmp -s run/model.safetensors again/model.safetensors"
for arm in "--attention softmax --head-norm yes" "--attention diff-v2 --untied" "--head-norm no --lambda-init 0.5 --style vaswani"; do
  rm -rf arm; run --run arm --train cats.txt $small --vocab-size 0 --max-updates 2 $arm || fail "$arm: $(cat err)"
done
check "bytes need no vocabulary" "[ ! -e arm/spm.model ] && $language_model sample --run arm --tokens 5 >/dev/null 2>&1"
run --run suffix --train notes $small --suffixes .md --vocab-size 0 --max-updates 1
check "suffixes" "head -1 out | grep -q 'tokens of 1 files'"
refuses "--batch-tokens 31: an update has one context at least, of --context 32 tokens" $language_model train --run none \
  --train cats.txt --context 32 --batch-tokens 31
ln -s loop loop
refuses "loop: Too many levels of symbolic links" $language_model train --run none --train loop
mkdir folder; ln -s . folder/self; cp cats.txt folder; printf 'caf\xe9\n' >folder/latin1.txt
run --run folded --train folder $small --vocab-size 0 --max-updates 1 || fail "a folder: $(cat err)"
check "a link back up is not followed, and what is no text is told" \
  "grep -q ' tokens of 1 files' out && grep -qx 'warning: folder: 1 files are left out, for they are not UTF-8: folder/latin1.txt' err"
refuses "a vocabulary of 4 pieces: four are for special tokens" $language_model train --run none --train cats.txt --vocab-size 4
check "no folder is left" "[ ! -e none ]"
run --run apart --train cats.txt --valid notes/dogs.txt $small --vocab-size 100 --max-updates 1
check "files to validate on" "grep -q '\"valid\": \\[' apart/config.json && head -1 out | grep -q 'tokens of 1 files'"
(cd "$sources" && $language_model train --run "$dir/own" $small --max-updates 1 >"$dir/out" 2>&1)
check "without a file, difftensor's own sources" "head -1 out | grep -qE 'tokens of [0-9]{3} files .*; 1024 subwords;' && grep -q '\"core\"' own/config.json"

# --- Killed and resumed, a training ends with the same bits ------------------------------------------------------
long="--train cats.txt notes $small --vocab-size 100 --max-updates 150 --save-every 7 --average 3 --lr 0.01"
same_run() {
  local file
  for file in config.json spm.model model.safetensors last.safetensors average.safetensors lambda.csv loss.svg \
    attention.svg loss_by_position.svg $(cd "$1" && ls checkpoints/*); do cmp "$1/$file" "$2/$file" || return 1; done
}
began=$(date +%s%N)
run --run straight $long || fail "training: $(cat err)"
took=$((($(date +%s%N) - began) / 1000000))  # ms
for ((kills = 0; kills < 6;)); do
  if [ -e killed/config.json ]; then arguments=--resume; else rm -rf killed; arguments=$long; fi
  $language_model train --run killed $arguments >/dev/null 2>&1 &
  sleep "$(printf '%d.%03d' $((ms = RANDOM % (took / 3 + 1), ms / 1000)) $((ms % 1000)))"
  kill -KILL $! 2>/dev/null; wait $! 2>/dev/null
  case $? in 137) kills=$((kills + 1)) ;; 0) break ;; *) fail "resuming after $kills kills"; break ;; esac
done
if [ -e killed/config.json ]; then arguments=--resume; else rm -rf killed; arguments=$long; fi
run --run killed $arguments || fail "resuming after kills: $(cat err)"
check "killed at random moments, the same bits" "same_run straight killed"
rm out
$language_model train --run stopped $long >out 2>/dev/null &
await "grep -qs 'update 20 ' out"; kill -INT $!; wait $!
check "SIGINT: exit code" "[ $? = 130 ]"
check "SIGINT: says how to go on" "tail -1 out | grep -qE '^stopped by SIGINT after update [0-9]+; go on with: language_model train --run stopped --resume$'"
run --run stopped --resume || fail "resuming after SIGINT: $(cat err)"
check "SIGINT: the same bits" "same_run straight stopped"
cp -r straight moved; mkdir elsewhere; cp -r cats.txt notes elsewhere/; cp -r straight kept
check "the files may lie elsewhere" "run --run moved --resume --train elsewhere/cats.txt elsewhere/notes"

# --- Sampling ----------------------------------------------------------------------------------------------------
sample="$language_model sample --run straight"
$sample --prompt 'line 7: the' --tokens 40 >one 2>err || fail "sample: $(cat err)"
check "a text goes on after its prompt" "head -c 11 one | grep -qx 'line 7: the' && [ \$(wc -c <one) -gt 30 ]"
for number in -1 010 0 1000001; do refuses "--tokens: $number: must be a whole number, at " $sample --tokens $number; done
refuses "--seed: -1: must be a whole number, at least 0" $sample --seed -1
check "a run of the same seed writes the same" "$sample --prompt 'line 7: the' --tokens 40 --threads 1 | cmp -s one"
for seed in 1 2; do $sample --prompt 'line 7: the' --tokens 40 --seed $seed --temperature 1.5 >seed$seed 2>err || fail "sample: $(cat err)"; done
check "another seed another text" "! cmp -s seed1 seed2"
$sample --prompt 'line 7: the' --tokens 40 --count 3 >three 2>err
check "the first of several is the one alone" "grep -qx -- '--- 3 ---' three && [ \"\$(sed -n '2,/^--- 2/p' three | head -n -1)\" = \"\$(cat one)\" ]"
check "greedy has one answer" "[ \"\$($sample --temperature 0 --tokens 30)\" = \"\$($sample --top-k 1 --tokens 30 --seed 9)\" ]"
$sample --prompt 'line ☃' --tokens 3 >out 2>err
check "a character that the vocabulary lacks" "grep -q '^warning: --prompt has characters that the vocabulary lacks' err"
check "longer than the context" "$sample --tokens 100 >out 2>err"

# --- Evaluation --------------------------------------------------------------------------------------------------
$language_model evaluate straight run >scores 2>err || fail "evaluate: $(cat err)"
check "figures of both" "[ \$(grep -cE '^  loss [0-9.]+  perplexity [0-9.]+  bits per byte [0-9.]+  accuracy [0-9.]+%$' scores) = 2 ]"
check "loss by position" "grep -qE '^  2-3 +[0-9.]+$' scores && grep -qE '^  16-31 +[0-9.]+$' scores && grep -q '</svg>' straight/loss_by_position.svg"
run --run whole --train cats.txt notes $small --vocab-size 100 --max-epochs 2
check "the loss is that of the training's last validation" "grep -qF \"VALID \$($language_model evaluate whole --model last |
  grep -oE ' loss [0-9.]+  perplexity [0-9.]+')\" out"
$language_model evaluate straight --text notes/dogs.txt --context 64 --svg dogs.svg >scores 2>err || fail "evaluate --text: $(cat err)"
check "another text, a longer context" "grep -qE '^  32-63 ' scores && [ -s dogs.svg ]"
refuses "notes: there is no text in files of folders that end in .cc" $language_model evaluate straight --text notes --suffixes .cc
$language_model evaluate straight --text notes --suffixes .md --svg owls.svg >scores 2>err || fail "evaluate --suffixes: $(cat err)"
check "files of a folder by their suffix" "grep -qE \"^  [0-9]+ tokens, \$(wc -c <notes/deep/owls.md) bytes, \" scores"
$language_model compare straight run >out 2>err
check "compare" "grep -q '^straight  *diff ' out && grep -q 'accuracy' out"

# --- A look inside -----------------------------------------------------------------------------------------------
$language_model inspect --run straight --text 'line 7: the <cat>' --layer 1 --head 1 --svg cat.svg >out 2>err || fail "inspect: $(cat err)"
check "the maps of a text" "grep -qx 'attention drawn in cat.svg' out && grep -q 'self-attention, layer 1, head 1' cat.svg"
refuses "there are 1 layers of 1 heads" $language_model inspect --run straight --text a --layer 2
# What a held-out text is given to begin with was trained on: the picture is not of that.
{ yes abc | head -90; yes xyz | head -10; } | tr -d '\n' >letters.txt
run --run letters --train letters.txt $small --vocab-size 0 --max-updates 1 || fail "letters: $(cat err)"
check "the picture of a training is of held-out text" "grep -q '>z<' letters/attention.svg && ! grep -q '>[ab]<' letters/attention.svg"
check "a terminal is not commanded" "printf 'a\033[31mb\n%.0s' {1..60} >escapes.txt && run --run escapes --train escapes.txt $small --vocab-size 0 --max-updates 60 --lr 0.01 --warmup 5 && ! grep -q \$'\033' out"
run --run plain --train cats.txt $small --vocab-size 0 --max-updates 1 --attention softmax
# A byte of a character alone, as an unschooled model writes them, is written, too.
for seed in 1 2 3 4 5 6; do
  $language_model sample --run plain --model last --temperature 1 --tokens 40 --seed $seed >one 2>/dev/null
  $language_model sample --run plain --model last --temperature 1 --tokens 40 --seed $seed --count 2 >two 2>/dev/null
  check "seed $seed: all bytes" "cmp one <(sed '1d; /^--- 2 ---\$/,\$d' two)"
done
refuses "plain: has softmax attention" $language_model inspect --run plain --text a

# --- Bad input: exit code 2, one line that names what and where, nothing written ---------------------------------
train="$language_model train --run new $small --max-updates 1"
refuses "missing.txt: no such file or folder" $train --train missing.txt
refuses "notes/picture.txt:1: this is not valid UTF-8" $train --train notes/picture.txt
: >empty; refuses "empty: there is no text" $train --train empty
printf 'a' >letter; refuses "letter: too short for --held-out" $train --train letter
refuses "--train is missing, and difftensor's own sources" $train
refuses "--held-out 1: must be in [0, 1)" $train --train cats.txt --held-out 1
refuses "--context: 1: must be a whole number, at least 2" $train --train cats.txt --context 1
refuses "--lambda-init is of --attention diff" $train --train cats.txt --attention softmax --lambda-init 0.5
refuses "attention: \"soft\" is none of" $train --train cats.txt --attention soft
refuses "--best-by bleu: the validation of this task tells loss, accuracy" $train --train cats.txt --best-by bleu --vocab-size 0
check "nothing was written" "[ ! -e new ]"
refuses "--resume cannot change vocab_size" $language_model train --run straight --resume --vocab-size 50
refuses "nowhere: no such run folder" $language_model sample --run nowhere
refuses "temperature -1 must be finite and not negative" $sample --temperature -1
refuses "top_p 2 must be above 0 and at most 1" $sample --top-p 2
refuses "--prompt: this is not valid UTF-8" $sample --prompt $'\xff'
echo >>cats.txt; rm notes/picture.txt  # one line on stderr, without the warning that it is left out
refuses "straight: the files that it was trained on have changed" $language_model evaluate straight
refuses "the data to train or validate on are no longer those" $language_model train --run kept --resume
refuses "missing: no such file or folder" $language_model evaluate straight --text missing

report
