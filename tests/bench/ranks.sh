#!/usr/bin/env bash
# What it costs to share out a training between two hosts: network namespaces, with links of several speeds.
# As root, on a quiet machine with two free cores:  tests/bench/ranks.sh BUILD_DIR SOURCE TARGET, two files of sentences.
set -eu
programs=$(realpath "$1")/with_mpi
source=$(realpath "$2") target=$(realpath "$3")
dir=$(mktemp -d)
here=dt$$a there=dt$$b
trap 'ip netns del $here; ip netns del $there; rm -rf "$dir"' EXIT
cd "$dir"
export OMP_WAIT_POLICY=passive OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_hwloc_base_binding_policy=none
head -n 100 "$source" >valid.source
head -n 100 "$target" >valid.target
flags=(--train-src "$source" --train-tgt "$target" --valid-src valid.source --valid-tgt valid.target --preset small
  --batch-tokens 16384 --max-updates 12 --log-every 1 --warmup 12)
ip netns add $here && ip netns add $there
ip link add $here type veth peer name $there
ip link set $here netns $here && ip link set $there netns $there
ip -n $here addr add 10.99.7.1/24 dev $here && ip -n $there addr add 10.99.7.2/24 dev $there
for n in $here $there; do ip -n $n link set lo up && ip -n $n link set $n up; done
printf '#!/bin/sh\nshift\nexec ip netns exec %s sh -c "$*"\n' $there >agent
chmod +x agent

# The median seconds of an update; what rank 0 sent, in MB; how long it waited, in percent.
measure() {
  rm -rf run
  "$@" train --run run "${flags[@]}" >out
  awk -F, '$1 == "train" { print $6 }' run/train_log.csv | sort -n >speeds
  tokens=$(awk '/^train,/ { n++ } END { print n }' run/train_log.csv)
  awk -v count="$tokens" 'NR == int((count + 1) / 2) { print $1 }' speeds
  sed -n 's/.*rank 0 sent \([0-9.]*\) MB, and waited for others in \([0-9.]*\)%.*/\1 \2/p' out
}
mpi() {
  ip netns exec $here mpirun -n 2 --host 10.99.7.1,10.99.7.2 --mca plm_rsh_agent "$dir/agent" --mca btl tcp,self \
    --mca btl_tcp_if_include 10.99.7.0/24 --mca oob_tcp_if_include 10.99.7.0/24 "$programs/translate" "$@" --threads 1
}
show() { printf '%-34s' "$1"; shift; measure "$@" | tr '\n' ' '; echo; }
alone() { "$programs/translate" "$@" --threads 2; }
one_host() { mpirun -n 2 "$programs/translate" "$@" --threads 1; }

echo "                                  tokens/s  MB sent, % waited"
show "one process, two threads" alone
show "two ranks of one thread, one host" one_host
show "two hosts, no limit" mpi
for rate in 10gbit 1gbit 200mbit; do
  for n in $here $there; do ip netns exec $n tc qdisc replace dev $n root tbf rate $rate burst 1mb latency 50ms; done
  show "two hosts, $rate" mpi
done
show "one process, two threads, again" alone
