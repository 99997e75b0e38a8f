# Sourced by those who need two hosts with a link between them: network namespaces, as root.
here=dt$$a there=dt$$b
delete_hosts() { ip netns del $here; ip netns del $there; } 2>/dev/null
make_hosts() {
  ip netns add $here && ip netns add $there && ip link add $here type veth peer name $there &&
    ip link set $here netns $here && ip link set $there netns $there &&
    ip -n $here addr add 10.99.7.1/24 dev $here && ip -n $there addr add 10.99.7.2/24 dev $there &&
    for n in $here $there; do ip -n $n link set lo up && ip -n $n link set $n up || return; done &&
    printf '#!/bin/sh\nshift  # the host: as ssh is called\nexec ip netns exec %s sh -c "$*"\n' $there >agent && chmod +x agent
}
# mpirun on both, a rank each; `mpirun` notices within eight seconds that a host is gone.
on_two_hosts() {
  ip netns exec $here mpirun -n 2 --host 10.99.7.1,10.99.7.2 --mca plm_rsh_agent "$PWD/agent" --mca btl tcp,self \
    --mca btl_tcp_if_include 10.99.7.0/24 --mca oob_tcp_if_include 10.99.7.0/24 \
    --mca oob_tcp_keepalive_time 2 --mca oob_tcp_keepalive_intvl 2 --mca oob_tcp_keepalive_probes 3 "$@"
}
