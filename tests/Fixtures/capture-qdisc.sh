#!/bin/sh
# Captures qdiscs, their classes and devices, and what tc and ip say of them, into the directory given: capture-qdisc.sh <directory>
# For a virtual machine with the kernel in question: needs root, tc, ip, and capture-qdisc (capture-qdisc.c, compiled) on the path.
# tbf and htb have a byte a second, so that nothing moves between the two readings.
set -eu
out=${1:?usage: capture-qdisc.sh <directory>}
mkdir -p "$out"
for i in all default; do echo 1 > /proc/sys/net/ipv6/conf/$i/disable_ipv6; done
ip link add name left numtxqueues 2 type veth peer name right
ip address add 10.98.0.1/24 dev left
ip link set left up
ip link set right up
ip neigh replace 10.98.0.2 lladdr 02:00:00:00:00:77 dev left nud permanent
begin() { tc qdisc del dev left root 2> /dev/null || true; tc qdisc replace dev left root handle 1: "$@"; }
keep() {
	capture-qdisc send 60 "$2"
	sleep 1
	capture-qdisc qdiscs > "$out/qdisc-$1.bin"
	tc -s -j qdisc show dev left > "$out/qdisc-$1.json"
}
begin fq limit 100 flow_limit 3 maxrate 8kbit quantum 200 initial_quantum 400
keep fq 1000
begin prio
keep prio 100
begin mq
keep mq 100
begin tbf rate 8bit burst 1600 limit 3000
tc qdisc add dev left parent 1:1 handle 10: fq_codel limit 20
keep fq_codel 100
begin htb default 10 r2q 1
tc class add dev left parent 1: classid 1:1 htb rate 8bit ceil 8bit burst 1600 cburst 1600 quantum 1600
tc class add dev left parent 1:1 classid 1:10 htb rate 8bit ceil 8bit burst 600 cburst 1600 quantum 1600
tc qdisc add dev left parent 1:10 handle 10: fq_codel limit 7
keep htb 100
capture-qdisc classes left 10000 > "$out/qdisc-htb-classes.bin"
tc -s class show dev left > "$out/qdisc-htb-classes.txt"
capture-qdisc links > "$out/link.bin"
capture-qdisc stats > "$out/link-stats.bin"
ip -s -s -j link > "$out/link.json"
