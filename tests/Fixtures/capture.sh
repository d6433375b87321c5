#!/bin/sh
# Captures the kernel files of a scene in a network namespace of its own: tests/Fixtures/capture.sh <scene>
# Scenes: idle, loaded. Writes <kernel>-<scene>/proc/... beside this script. Needs root, iproute2 and python3.
set -eu
scene=${1:?usage: capture.sh idle|loaded}
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
