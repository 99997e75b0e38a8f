#!/usr/bin/env bash
# Faults for real, in a training of four updates: each system call that writes fails in turn, or is the last before
# SIGKILL (tests/faults/shim.c); a bit is flipped in each file of a run folder. What is lost is noticed and said, and a
# run that goes on ends with the same bits.
# usage: tests/test_faults.sh BUILD_DIR
faults=$(realpath "$1")/faults.so
. "$(dirname "$0")"/cli_helpers.sh
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive translate faults dir
tiny="--d-model 4 --ff 4 --heads 1 --layers 1 --task reverse --pairs 100 --vocab-size 40 --max-updates 4 --save-every 2
  --average 1 --log-every 2 --batch-tokens 400 --schedule inverse-sqrt"
export tiny

# Each line of stdin is a call of a function: several at once, each in a folder of its own. What one prints is wrong.
each() {
  xargs -P "$(nproc)" -I{} bash -c 'set -- {}; here="${*//[\/ ]/-}"; mkdir "$here" && cd "$here" && "$@" || echo "$* stopped"' >wrong 2>/dev/null
}
complaints() { if [ -s wrong ]; then fail "$1: $(cat wrong)"; else ok; fi; }

# Is run folder $1 as the training leaves it that nothing disturbed? The log's times may differ.
untimed() { cut -d, -f1-5,7-10 "$1"/train_log.csv; }
same_run() {
  local file
  for file in config.json spm.model lambda.csv lambda.csv.crc32 loss.svg attention.svg {model,last,average}.safetensors \
    checkpoints/update-0000004.safetensors; do
    cmp "$1/$file" "$dir/straight/$file" || return 1
  done
  diff <(cd "$1" && find . | sort) <(cd "$dir/straight" && find . | sort) &&
    diff <(untimed "$1") <(untimed "$dir/straight")
}
# Under ./run, so that the folder in which it is made is watched too.
train() { $translate train --run ./run "$@" >out 2>err; local status=$?; sed -i '/^OpenBLAS chose/d' err; return $status; }
# Goes on to the end with what is there, as a user would who follows the messages.
go_on() {
  if [ -e run/config.json ]; then train --resume; else rm -rf run; train $tiny; fi || { cat err; return 1; }
}
export -f untimed same_run train go_on

$translate train --run straight $tiny >/dev/null 2>&1 || fail "training"

# --- Every call that writes -----------------------------------------------------------------------------------------
mkdir traced
(cd traced && LD_PRELOAD=$faults FAULT_UNDER=. FAULT_TRACE=calls train $tiny)
check "traced, it trains to the same bits" "same_run traced/run"
calls=$(wc -l <traced/calls)
for call in open write fsync close rename mkdir unlink; do
  check "$call is counted" "grep -q '^[0-9]* $call ' traced/calls"
done
check "stdout is closed" "tail -n 1 traced/calls | grep -q ' close 1$'"
# What is renamed was synced and closed, and its folder is synced then, as for a new folder.
names=$(cut -d' ' -f2 traced/calls | tr '\n' ' ')
count() { grep -o "$1" <<<"$names" | wc -l; }
check "renames are durable" "[ \$(count 'fsync close rename open fsync close') = \$(count rename) ]"
check "folders are durable" "[ \$(count 'mkdir open fsync close') = \$(count mkdir) ]"

# faulty FAULT N CALL
faulty() {
  LD_PRELOAD=$faults FAULT_UNDER=. FAULT_AT=$2 FAULT=$1 train $tiny
  local status=$? when="$1 at call $2 ($3)"
  case $1 in
    EINTR|SHORT) [ $status = 0 ] ;;
    KILL) [ $status = 137 ] ;;
    EIO) [ $status = 2 ] && [ "$(wc -l <err)" = 1 ] && grep -qE '(run|stdout).*: Input/output error$' err ;;
    ENOSPC) [ $status = 2 ] && [ "$(wc -l <err)" = 1 ] && grep -qE '(run|stdout).*: No space left on device$' err ;;
  esac || echo "$when: exit $status: $(cat err)"
  [ $status = 0 ] || go_on || echo "going on after $when"
  same_run run >different 2>&1 || echo "other bits after $when: $(cat different)"
  rm -rf run
}
export -f faulty
for fault in EIO EINTR KILL; do
  sed "s/^\([0-9]*\) \([a-z]*\) .*/faulty $fault \1 \2/" traced/calls | each
  complaints "$fault at each of $calls calls"
done
for fault in ENOSPC SHORT; do
  sed -n "s/^\([0-9]*\) \(write\) .*/faulty $fault \1 \2/p" traced/calls | each
  complaints "$fault at each write"
done

# --- A flipped bit in every file ------------------------------------------------------------------------------------
# A run that was killed when its last checkpoint was to get its name.
last=$(grep 'rename ./run/last.safetensors$' traced/calls | tail -1 | cut -d' ' -f1)
mkdir half
(cd half && LD_PRELOAD=$faults FAULT_UNDER=. FAULT_AT=$last FAULT=KILL train $tiny) 2>/dev/null
check "half a run" "[ -e half/run/config.json ] && [ ! -e half/run/average.safetensors ]"
translations() {
  local model
  for model in best last average; do echo 'a b c d' | $translate translate --run "$1" --model $model 2>>err || return 2; done
}
export -f translations
translations straight >translated 2>/dev/null

# flipped RUN BYTE FILE BIT: going on, and translating, with a bit flipped.
flipped() {
  cp -r "$dir/$1" run
  local file=run/$3 when="bit $4 of byte $2 of $1/$3" status value
  value=$(($(od -An -tu1 -j "$2" -N 1 "$file") ^ 1 << $4))
  printf "$(printf '\\x%02x' $value)" | dd of="$file" bs=1 seek="$2" conv=notrunc status=none
  : >err
  if [ "$1" = straight ]; then
    translations run >found
    status=$?
    [ $status = 0 ] && { cmp -s found "$dir/translated" || echo "$when: other translations"; }
  else
    train --resume
    status=$?
    # A setting that may change is told.
    [ $status = 0 ] && { same_run run >/dev/null 2>&1 || grep -qE ' is .*, and was ' out || echo "$when: other bits"; }
  fi
  [ $status = 0 ] || { [ $status = 2 ] && grep -q "run" err; } || echo "$when: exit $status: $(cat err)"
  rm -rf run
}
export -f flipped
RANDOM=13  # the seed
for run in straight half/run; do
  for file in $(cd $run && find . -type f -size +0 -printf '%P\n' | sort); do
    size=$(stat -c %s "$run/$file")
    # Half of them in the first sixteenth, where headers are.
    for i in 1 2 3 4 5 6 7 8; do
      echo "flipped $run $(((RANDOM * 32768 + RANDOM) % (i % 2 ? size : size / 16 + 1))) $file $((RANDOM % 8))"
    done
  done
done >unsorted  # not by a pipe: in a process of its own RANDOM would begin anywhere
sort -u unsorted >flips
each <flips
complaints "one of $(wc -l <flips) flipped bits"
report
