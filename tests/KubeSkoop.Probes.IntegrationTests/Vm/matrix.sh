#!/usr/bin/env bash
# Runs the live tests on other kernels, and writes docs/kernels.md from what they said.
#   matrix.sh all    every kernel, every live test; writes the document
#   matrix.sh hooks  every kernel, the tests of what differs from kernel to kernel; writes the document
#   matrix.sh probes  every kernel, starts every probe; writes the document
#   matrix.sh record  records fixtures for the parsers on every kernel, into tests/Fixtures
#   matrix.sh some   the kernel on which most hooks differ from this machine's, and the tests of those
# Results: artifacts/test-results/kernels/NAME.tsv, lines as the live runner tells them. Exit status 3: this machine cannot, and says why.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
# shellcheck source=scripts/prerequisites.sh
. "$root/scripts/prerequisites.sh"

scope=${1:?all, hooks, probes, some or record}
results=$root/artifacts/test-results/kernels
runner=$root/artifacts/live-runner
tools=(ip tc ss nstat nft iptables conntrack bpftool setpriv unshare nsenter sysctl dd losetup mount umount bash blkdiscard fsfreeze mkfs.ext4 ipvsadm dmsetup)
# What the kernel decides the way for, and what this machine cannot show.
different='TcpResetLive|SocketLatencyLive|KernelLatencyStagesLive|TcpSocketSourceLive|MibSourceLive'
elsewhere='VirtCmdLatencyLive|IpvsServicesLive|FlowLive|netem|bad_network|slow_network|known_slowness|device_mapper'

cannot() {
	say "$1"
	exit 3
}

need_machine() {
	local missing
	[[ $(uname -m) == x86_64 ]] || cannot "The virtual machines are made on x86-64 only."
	mapfile -t missing < <(need_tools qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio mke2fs:e2fsprogs depmod:kmod xz:xz-utils zstd:zstd \
		ip:iproute2 nft:nftables iptables:iptables conntrack:conntrack bpftool:bpftool blkdiscard:util-linux ipvsadm:ipvsadm dmsetup:dmsetup)
	[[ ${#missing[@]} -eq 0 ]] || cannot "Missing: $(printf '%s; ' "${missing[@]}")without which no virtual machine can be made."
}

publish() {
	local log=$results/publish-$1.log
	dotnet publish "$root/tests/KubeSkoop.Probes.LiveRunner" -c Release -r "linux-$1" "${@:2}" -o "$runner/$1" -v quiet -nologo >"$log" 2>&1 </dev/null || {
		cat "$log" >&2
		cannot "The live runner cannot be built."
	}
}

# NAME LIMIT COMMAND...: runs in the machine with that kernel. "live" in a command is the runner.
in_machine() {
	local name=$1 limit=$2 folder arguments=() home framework tool
	shift 2
	folder=$("$here/kernels.sh" fetch "$name") || return
	home=$(dirname "$(readlink -f "$(command -v dotnet)")")
	framework=$(find "$home/shared/Microsoft.NETCore.App" -mindepth 1 -maxdepth 1 -name '10.*' | sort -V | tail -1)
	for tool in "${tools[@]}"; do ! PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || arguments+=(--program "$tool"); done
	arguments+=(--add "$runner/x64/.:/live" --add "$home/dotnet:/usr/share/dotnet" --add "$home/host:/usr/share/dotnet" --add "$framework:/usr/share/dotnet/shared/Microsoft.NETCore.App")
	arguments+=(--libraries-of "$home/dotnet" --libraries-of "$framework/libcoreclr.so" --libraries-of "$framework/libSystem.Native.so")
	[[ ! -d /usr/lib/x86_64-linux-gnu/xtables ]] || arguments+=(--add /usr/lib/x86_64-linux-gnu/xtables:/usr/lib/x86_64-linux-gnu)
	"$here/vm.sh" --kernel "$folder" --limit "$limit" --memory 2048 ${out:+--out "$out"} "${arguments[@]}" -- \
		"export DOTNET_gcHeapHardLimit=30000000 DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1 DOTNET_ROOT=/usr/share/dotnet KUBESKOOP_EMULATED=1
live() { /usr/share/dotnet/dotnet /live/KubeSkoop.Probes.LiveRunner.dll \"\$@\"; }
$*"
}

# NAME LIMIT COMMAND...: the same, into its results. A machine that dies leaves what it has told.
collect() {
	local name=$1 began=$SECONDS
	in_machine "$@" >"$results/$name.log" 2>&1 || true
	# The emulator now and then executes a breakpoint that the kernel has already taken out of its code again, which no processor does.
	if grep -qa 'Oops: int3' "$results/$name.log"; then
		mv "$results/$name.log" "$results/$name.died.log"
		say "$name: the emulator executed code that was patched meanwhile (int3) after $((SECONDS - began)) s; once more."
		in_machine "$@" >"$results/$name.log" 2>&1 || true
	fi
	grep -a '^@' "$results/$name.log" >"$results/$name.tsv" || true
	if ! grep -q $'^@\tend' "$results/$name.tsv"; then
		printf '@\ttest\tfailed\t0\t(the machine)\tIt did not come to its end; its last words: %s\n' "$(tail -n 3 "$results/$name.log" | tr '\n\t' '  ' | cut -c1-600)" >>"$results/$name.tsv"
	fi
	say "$name: $(grep -c $'^@\ttest\tpassed' "$results/$name.tsv" || true) passed, $(grep -c $'^@\ttest\tfailed' "$results/$name.tsv" || true) failed, $(grep -c $'^@\ttest\tskipped' "$results/$name.tsv" || true) skipped ($((SECONDS - began)) s)"
}

# The programs that most tests need are not there for that architecture: every probe is started.
collect_arm64() {
	local name=6.12-arm64 folder
	if [[ -n $(need_tools qemu-system-aarch64:qemu-system-arm) ]] || ! folder=$("$here/kernels.sh" fetch "$name"); then
		say "$name: not here."
		return
	fi
	publish arm64 --self-contained
	"$here/vm.sh" --kernel "$folder" --arch arm64 --limit 900 --memory 2048 --add "$runner/arm64/.:/live" -- \
		"DOTNET_gcHeapHardLimit=30000000 DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1 /live/KubeSkoop.Probes.LiveRunner --matrix --only '^\$'" >"$results/$name.log" 2>&1 || true
	grep -a '^@' "$results/$name.log" >"$results/$name.tsv" || true
}

need_machine
mkdir -p "$results"
publish x64
case $scope in
record)
	out=$(mktemp -d)
	trap 'rm -rf "$out"' EXIT
	for name in 5.10 6.1 6.12 6.18 newest; do
		rm -rf "${out:?}"/*
		in_machine "$name" 300 "live --record /out" >"$results/record-$name.log" 2>&1 || {
			tail -n 20 "$results/record-$name.log" >&2
			exit 1
		}
		recorded=$(basename "$out"/*-recorded)
		rm -rf "$root/tests/Fixtures/${recorded:?}"
		cp -r "$out/$recorded" "$root/tests/Fixtures/"
		say "tests/Fixtures/$recorded"
	done
	;;
some)
	collect 6.1 500 "live --matrix --only '$different'"
	;;
all | hooks | probes)
	only=
	[[ $scope != hooks ]] || only=" --only '$different|$elsewhere'"
	[[ $scope != probes ]] || only=" --only '^\$'"
	for name in 5.10 6.1 6.12 6.18 newest; do
		case $name in
		5.10 | 6.1) forced="live --hook kprobe --only 'TcpResetLive|KernelLatencyStagesLive'" ;;
		6.12) forced="live --hook fentry --only SocketLatencyLive" ;;
		*) forced=true ;;
		esac
		[[ $scope != probes ]] || forced=true
		collect "$name" 1800 "live --matrix$only; $forced"
	done
	collect_arm64
	"$runner/x64/KubeSkoop.Probes.LiveRunner" --matrix --only '^$' >"$results/native.tsv"
	"$here/document.sh" "$results" >"$root/docs/kernels.md"
	;;
*)
	say "matrix.sh knows all, hooks, probes, some and record."
	exit 2
	;;
esac
