#!/bin/sh
# Captures the kernel files of a scene in a network namespace of its own: tests/Fixtures/capture.sh <scene>
# Scenes: idle, loaded; conntrack; tcpsummary. Writes <kernel>-<scene>/proc/... (netlink/... of the last two) beside this script. Needs root,
# iproute2 and python3; conntrack and tcpsummary also nftables, conntrack also conntrack.
set -eu
scene=${1:?usage: capture.sh idle|loaded|conntrack|tcpsummary}
cd "$(dirname "$0")"
out=$(uname -r | cut -d. -f1,2)-$scene
ns=kubeskoop-capture-$$
trap 'ip netns del "$ns" 2>/dev/null || true; ip netns del "$ns-peer" 2>/dev/null || true' EXIT
ip netns add "$ns"
ip netns exec "$ns" ip link set lo up
case $scene in
idle) ;;
loaded)
	ip netns add "$ns-peer"
	ip netns exec "$ns" ip link add eth0 type veth peer name eth0 netns "$ns-peer"
	for n in "$ns 1" "$ns-peer 2"; do
		set -- $n
		ip netns exec "$1" ip link set eth0 up
		ip netns exec "$1" ip address add "10.99.0.$2/24" dev eth0
		ip netns exec "$1" ip address add "fd99::$2/64" dev eth0 nodad
	done
	ip netns exec "$ns" python3 - <<'PY'
import socket, time
for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.bind((host, 0)); listener.listen(8)
    for n in range(5):
        client = socket.create_connection(listener.getsockname()[:2])
        server = listener.accept()[0]
        client.sendall(b"x" * 1000); server.recv(1000)
        client.close(); server.close()
    for n in range(3):
        with socket.socket(family, socket.SOCK_DGRAM) as s:
            s.sendto(b"unreachable", (host, 9))
    try:
        socket.create_connection((host, 9))
    except OSError:
        pass
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    for n in range(7):
        s.sendto(b"y" * 3000, ("10.99.0.2", 9))
time.sleep(0.2)
PY
	;;
conntrack)
	rm -rf "$out"
	mkdir -p "$out/netlink"
	ip netns exec "$ns" python3 - "$out/netlink" <<'PY'
import os, socket, struct, subprocess, sys, time
def run(command): subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
run("sysctl -qw net.netfilter.nf_conntrack_acct=1 net.netfilter.nf_conntrack_timestamp=1")
run("""nft 'table inet track {
  ct helper f { type "ftp" protocol tcp; l3proto ip; }
  chain in { type filter hook input priority 0; ct state new,established,related accept; }
  chain out { type filter hook output priority 0; tcp dport 2121 ct helper set "f"; ct state new,established,related accept; }
}
table ip translate {
  chain out { type nat hook output priority -100; ip daddr 127.0.0.9 udp dport 53 dnat to 127.0.0.1:5353; }
}' """)
events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
events.bind((0, 0b111111))
def lines(port, *sent):
    listener = socket.socket(); listener.bind(("127.0.0.1", port)); listener.listen()
    client = socket.create_connection(("127.0.0.1", port)); server = listener.accept()[0]
    for line in sent:
        client.sendall(line); server.recv(100)
    client.close(); server.close(); listener.close()
lines(2000, b"x" * 100)
lines(2121, b"USER test\r\n", b"PORT 127,0,0,1,10,20\r\n")
for family, address in ((socket.AF_INET, ("127.0.0.9", 53)), (socket.AF_INET6, ("::1", 9))):
    with socket.socket(family, socket.SOCK_DGRAM) as s: s.sendto(b"y", address)
for entry in ("-p icmp -s 10.0.0.1 -d 10.0.0.2 --icmp-type 8 --icmp-code 0 --icmp-id 77",
              "-p icmpv6 -s fd00::1 -d fd00::2 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 78",
              "-p tcp -s fd00::1 -d fd00::2 --sport 1000 --dport 80 --state ESTABLISHED -u SEEN_REPLY,ASSURED -m 7",
              "-p sctp -s 10.0.0.1 -d 10.0.0.2 --orig-port-src 1000 --orig-port-dst 99 --state ESTABLISHED --orig-vtag 1 --reply-vtag 2",
              "-p gre -s 10.0.0.1 -d 10.0.0.2 --srckey 1 --dstkey 2"):
    run("conntrack -I -t 600 " + entry)
def ask(kind, flags, file):
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12); s.bind((0, 0))
    s.send(struct.pack("=IHHIIBBH", 20, 1 << 8 | kind, flags, 1, 0, 0, 0, 0))
    with open(os.path.join(sys.argv[1], file), "wb") as out:
        while True:
            part = s.recv(65536); out.write(part)
            if flags == 1 or struct.unpack_from("=H", part, 4)[0] == 3: break
ask(1, 0x301, "conntrack-dump.bin")
ask(4, 0x301, "conntrack-stats-cpu.bin")
ask(5, 1, "conntrack-stats.bin")
run("conntrack -F expect; conntrack -F -f ipv4; conntrack -F -f ipv6")
time.sleep(0.2)
events.setblocking(False)
with open(os.path.join(sys.argv[1], "conntrack-events.bin"), "wb") as out:
    try:
        while True: out.write(events.recv(65536))
    except BlockingIOError: pass
PY
	cat >"$out/origin.md" <<EOF
Captured with \`tests/Fixtures/capture.sh conntrack\` on Linux $(uname -r | cut -d- -f1), $(uname -m); netlink messages as the kernel wrote them, one behind the
other: a dump of entries, both statistics, and the notices of the flows the script makes, from their beginning to their end.
EOF
	echo "$out"
	exit
	;;
tcpsummary)
	rm -rf "$out"
	mkdir -p "$out/netlink"
	ip netns exec "$ns" python3 - "$out/netlink" <<'PY'
import os, socket, struct, subprocess, sys, time
def listen(family, host, port, backlog):
    s = socket.socket(family); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind((host, port)); s.listen(backlog); return s
def connect(listener, family=socket.AF_INET):
    s = socket.socket(family); s.connect(listener.getsockname()[:2]); return s
a = listen(socket.AF_INET, "127.0.0.1", 8000, 100)
b = listen(socket.AF_INET6, "::1", 8001, 7)
c = listen(socket.AF_INET, "127.0.0.1", 8002, 9)
kept = []
for n in range(4):
    client = connect(a); server = a.accept()[0]; kept += [client, server]
    if n == 0: client.setsockopt(socket.IPPROTO_TCP, 13, b"reno")  # TCP_CONGESTION
    client.sendall(b"x" * 100 * n)
for n in range(3): kept.append(connect(b, socket.AF_INET6))  # nobody accepts
for n in range(2):
    client = connect(a); kept.append(a.accept()[0])
    client.close() if n else client.shutdown(socket.SHUT_WR)
    kept.append(client)
time.sleep(0.3)
subprocess.run(["nft", "add table ip t; add chain ip t i { type filter hook input priority 0; }; add rule ip t i tcp sport 8002 drop"], check=True)
for n in range(5):
    s = socket.socket(); s.setblocking(False); s.connect_ex(("127.0.0.1", 8002)); kept.append(s)
time.sleep(0.1)
def ask(states, extensions, file):
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4); s.bind((0, 0))
    s.send(struct.pack("=IHHIIBBBB48xII", 76, 18, 0x301, 1, 0, 2, 0, 0, extensions, states, 0))
    with open(os.path.join(sys.argv[1], file), "wb") as out:
        while True:
            part = s.recv(65536); out.write(part)
            if struct.unpack_from("=H", part, 4)[0] == 3: break
ask(0xbbe, 0, "tcp-connections.bin")
ask(0xbbe, 10, "tcp-connections-info.bin")
ask(1 << 10, 0, "tcp-listeners.bin")
PY
	cat >"$out/origin.md" <<EOF
Captured with \`tests/Fixtures/capture.sh tcpsummary\` on Linux $(uname -r | cut -d- -f1), $(uname -m); netlink messages as the kernel wrote them, one behind the
other: dumps (TCPDIAG_GETSOCK) of the connections the script makes, without and with INET_DIAG_INFO and INET_DIAG_CONG, and of its listeners.
EOF
	echo "$out"
	exit
	;;
*) echo "unknown scene $scene" >&2; exit 2 ;;
esac
rm -rf "$out/proc"
mkdir -p "$out/proc/net" "$out/proc/pid"
for f in snmp snmp6 netstat sockstat sockstat6 dev softnet_stat; do
	ip netns exec "$ns" cat "/proc/net/$f" >"$out/proc/net/$f"
done
ip netns exec "$ns" sh -c 'for f in stat io limits; do cat /proc/$$/$f >"$1/$f"; done' sh "$out/proc/pid"
cat >"$out/origin.md" <<EOF
Captured with \`tests/Fixtures/capture.sh $scene\` on Linux $(uname -r | cut -d- -f1), $(uname -m); bytes as the kernel wrote them.
Columns: the kernel's own; nothing was retyped. \`proc/pid\` is the shell that did the copying.
EOF
echo "$out"
