#!/usr/bin/env bash
# What it costs to share out a training between two hosts: network namespaces, with links of several speeds.
# As root, on a quiet machine with two free cores:  tests/bench/ranks.sh BUILD_DIR SOURCE TARGET, two files of sentences.
set -eu
programs=$(realpath "$1")/with_mpi
source=$(realpath "$2") target=$(realpath "$3")
dir=$(mktemp -d)
source "$(dirname "$(realpath "$0")")/../two_hosts.sh"
trap 'delete_hosts; rm -rf "$dir"' EXIT
cd "$dir"
export OMP_WAIT_POLICY=passive OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_hwloc_base_binding_policy=none
head -n 100 "$source" >valid.source
head -n 100 "$target" >valid.target
flags=(--train-src "$source" --train-tgt "$target" --valid-src valid.source --valid-tgt valid.target --preset small
  --batch-tokens 16384 --max-updates 12 --log-every 1 --warmup 12)
make_hosts

# The median of the updates' tokens/s; what rank 0 sent in one, in MB; how long it waited, in percent.
measure() {
  rm -rf run
  "$@" train --run run "${flags[@]}" >out
  awk -F, '$1 == "train" { print $6 }' run/train_log.csv | sort -n | sed -n 6p
  sed -n 's/.*rank 0 sent \([0-9.]*\) MB, and waited for others in \([0-9.]*\)%.*/\1 \2/p' out
}
show() { printf '%-34s' "$1"; shift; measure "$@" | tr '\n' ' '; echo; }
alone() { "$programs/translate" "$@" --threads 2; }
two_hosts() { on_two_hosts "$programs/translate" "$@" --threads 1; }
one_host() { mpirun -n 2 "$programs/translate" "$@" --threads 1; }

echo "                                  tokens/s  MB sent, % waited"
show "one process, two threads" alone
show "two ranks of one thread, one host" one_host
show "two hosts, no limit" two_hosts
for rate in 10gbit 1gbit 200mbit; do
  for n in $here $there; do ip netns exec $n tc qdisc replace dev $n root tbf rate $rate burst 1mb latency 50ms; done
  show "two hosts, $rate" two_hosts
done
show "one process, two threads, again" alone
