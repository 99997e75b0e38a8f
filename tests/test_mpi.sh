#!/usr/bin/env bash
# Trainings that mpirun shares out: the same bits with any number of ranks and threads, and what happens when one fails.
# usage: tests/test_mpi.sh BUILD_DIR, which has the programs with MPI in with_mpi/
project_tests=$(realpath "$(dirname "$0")")
source "$project_tests/cli_helpers.sh"
source "$project_tests/two_hosts.sh"
programs=${translate%/*}/with_mpi
if ! command -v mpirun >/dev/null || [ ! -x "$programs/translate" ]; then
  echo "MPI: left out, for there is no OpenMPI here (make deps MPI=1 installs it)"
  exit 0
fi
export OMP_WAIT_POLICY=passive
# More processes than cores; and containers are often root's.
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe PRTE_MCA_hwloc_default_binding_policy=none

translate_it=(translate --task reverse --d-model 32 --ff 48 --heads 2 --layers 2 --vocab-size 40 --attention diff-v2 --pairs 1500)
seven=(--max-updates 7 --save-every 3 --average 2 --log-every 2)
train() {  # train RANKS THREADS RUN PROGRAM flags...
  local ranks=$1 threads=$2 run=$3 program=$4; shift 4
  mpirun -n "$ranks" "$programs/$program" train --run "$run" --threads "$threads" "$@" >"$run.out" 2>"$run.err"
}
# All that a run leaves, but for the time it took.
content() {
  (cd "$1" && find . -type f ! -name lock | sort | while read -r file; do
    echo "$file $(case $file in
      *train_log.csv) cut -d, -f1-5,7- "$file" | sed 's/,[0-9.]*$//' ;;
      *.crc32 | *record.json) ;;
      *) cat "$file" ;;
    esac | sha256sum)"
  done)
}
same_run() { check "$3" "[ -s '$1/last.safetensors' ] && diff <(content '$1') <(content '$2')"; }

# --- The same bits --------------------------------------------------------------------------------------------------
language_it=(language_model --train corpus.txt --d-model 32 --ff 48 --heads 2 --layers 1 --context 32 --batch-tokens 700)
needle_it=(needle --check-sequences 2)
for i in $(seq 400); do echo "line $i says $((i * i % 97)) and $((i * 7 % 31))"; done >corpus.txt
for program in translate_it language_it needle_it; do
  declare -n flags=$program
  train 1 1 "$program-1" "${flags[@]}" "${seven[@]}" || { fail "$program on one rank"; cat "$program-1.err" >&2; }
  for ranks in 2 3 4; do
    train $ranks $((ranks % 2 + 1)) "$program-$ranks" "${flags[@]}" "${seven[@]}" || { fail "$program on $ranks ranks"; cat "$program-$ranks.err" >&2; }
    same_run "$program-1" "$program-$ranks" "${flags[0]} on $ranks ranks has other bits than on one"
  done
done
"$translate" train --run alone --threads 2 "${translate_it[@]:1}" "${seven[@]}" >alone.out
same_run alone translate_it-2 "a program without MPI has other bits"
said() { grep -v '^trained\|ranks:' "$1" | sed 's/after .*//; s/[0-9]* tokens.s//; s/[0-9]* threads//'; }
check "rank 0 alone prints" "diff <(said alone.out) <(said translate_it-2.out)"

# --- Stopped, and gone on with by another number of ranks ------------------------------------------------------------
long=("${translate_it[@]}" --max-updates 600 --save-every 20 --log-every 20)
train 1 1 whole "${long[@]}"
rank_1() { pgrep -P $job translate | sed -n 2p; }  # of the job, which is mpirun itself
begin() {  # begin RUN command...: starts a job and waits until it has saved something
  local run=$1; shift
  "$@" >"$run.out" 2>"$run.err" & job=$!
  await "ls '$run'/train_log.csv && [ \$(wc -l <'$run'/train_log.csv) -ge 2 ]" >/dev/null 2>&1
}
go_on() { mpirun -n "$1" "$programs/translate" train --run "$2" --resume --threads 1 >>"$2.out" 2>"$2.err"; }

begin term mpirun -n 3 "$programs/translate" train --run term "${long[@]:1}" --threads 1
kill -TERM "$(rank_1)"  # one rank alone: all stop after the same update
wait $job; status=$?
check "SIGTERM to a rank ends all: exit code $status" "[ $status = 143 ] && grep -q '^stopped by SIGTERM after update' term.out"
go_on 2 term
same_run whole term "stopped on three ranks, gone on with on two: other bits"

begin killed mpirun -n 2 "$programs/translate" train --run killed "${long[@]:1}" --threads 1
start=$SECONDS
kill -KILL "$(rank_1)"
wait $job; status=$?
check "a rank that dies ends the job, in $((SECONDS - start)) s, exit code $status" "[ $status != 0 ] && [ $((SECONDS - start)) -lt 15 ]"
check "and it is named" "grep -q 'process rank 1 .*Killed' killed.err"
go_on 4 killed
same_run whole killed "killed on two ranks, gone on with on four: other bits"

begin silent mpirun -n 2 "$programs/translate" train --run silent "${long[@]:1}" --max-updates 100000 --threads 1
start=$SECONDS
kill -STOP "$(rank_1)"
wait $job; status=$?
check "a rank that says nothing ends the job, in $((SECONDS - start)) s, exit code $status" "[ $status != 0 ] && [ $((SECONDS - start)) -lt 25 ]"
check "and it is named" "grep -q 'rank 0 on .* has heard nothing of rank 1 for 10 s' silent.err"

# --- One message for all --------------------------------------------------------------------------------------------
says() {  # says "a part of the message" command...: exit code 2, and the line once
  local part=$1 status; shift
  timeout 60 "$@" >out 2>err </dev/null; status=$?
  check "$* -> exit $status, wanted 2 and once \"$part\": $(cat err)" "[ $status = 2 ] && [ \"\$(grep -cF -- '$part' err)\" = 1 ]"
}
says "translate: --lr 0: must be positive and finite" mpirun -n 2 "$programs/translate" train --run bad "${long[@]:1}" --lr 0
says "killed: holds a run already" mpirun -n 3 "$programs/translate" train --run killed "${long[@]:1}"
says "only train can be shared out" mpirun -n 2 "$programs/translate" test --run killed
mkdir here there
for i in $(seq 300); do printf 'a b %s\tc d %s\n' $((i % 9)) $((i % 9)); done >here/pairs.tsv
part=("$programs/translate" train --train pairs.tsv --vocab-size 40 --max-updates 3 --d-model 16 --ff 16 --heads 2 --layers 1 --threads 1)
says "pairs.tsv: cannot open: No such file or directory (rank 1)" mpirun -n 1 -wdir here "${part[@]}" --run "$dir/bad" : -n 1 -wdir there "${part[@]}" --run "$dir/bad"
(cat here/pairs.tsv; printf 'a\tb\n') >there/pairs.tsv
says "rank 1 has other data" mpirun -n 1 -wdir here "${part[@]}" --run "$dir/bad" : -n 1 -wdir there "${part[@]}" --run "$dir/bad"
says "rank 1 has other settings" mpirun -n 1 -wdir here "${part[@]}" --run "$dir/bad" : -n 1 -wdir here "${part[@]}" --run "$dir/bad" --seed 3
check "nothing was made" "[ ! -e bad ]"

# --- Two hosts, in network namespaces --------------------------------------------------------------------------------
if make_hosts 2>/dev/null; then
  trap 'delete_hosts; chmod -R u+rwx "$dir"; rm -rf "$dir"' EXIT
  on_two_hosts "$programs/translate" train --run hosts --threads 2 "${translate_it[@]:1}" "${seven[@]}" >hosts.out 2>hosts.err || cat hosts.err >&2
  same_run translate_it-1 hosts "two hosts have other bits than one"

  begin cut on_two_hosts "$programs/translate" train --run cut "${long[@]:1}" --max-updates 100000 --threads 1
  ip -n $there link set $there down
  start=$SECONDS
  wait $job; status=$?
  check "a host that vanishes ends the job, in $((SECONDS - start)) s, exit code $status: $(cat cut.err)" \
    "[ $status != 0 ] && [ $((SECONDS - start)) -lt 30 ] && grep -q 'lost communication\|has heard nothing of rank 1' cut.err"
  await "! pgrep -f '^$programs/translate train --run cut' >/dev/null"  # on either host
  check "and leaves a checkpoint" "[ -s cut/last.safetensors ]"
else
  delete_hosts
  echo "MPI: two hosts are left out, for network namespaces cannot be made here"
fi
report
