#!/usr/bin/env bash
# Runs the live tests on other kernels, and writes docs/kernels.md from what they said.
#   matrix.sh all    every kernel, every live test; writes the document
#   matrix.sh hooks  every kernel, the tests of what differs from kernel to kernel; writes the document
#   matrix.sh probes  every kernel, starts and samples every probe; writes the document
#   matrix.sh record  records fixtures for the parsers on every kernel, into tests/Fixtures
#   matrix.sh some   the kernel on which most hooks differ from this machine's, and the tests of those
# Results: artifacts/test-results/kernels/NAME.tsv, lines as the live runner tells them, with judge.sh's. Exit status 3: this machine cannot, and says why.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
# shellcheck source=scripts/prerequisites.sh
. "$root/scripts/prerequisites.sh"

scope=${1:?all, hooks, probes, some or record}
results=$root/artifacts/test-results/kernels
runner=$root/artifacts/live-runner
tools=(ip tc ss nstat nft iptables conntrack bpftool setpriv unshare sysctl dd losetup mount umount bash blkdiscard fsfreeze mkfs.ext4 ipvsadm dmsetup)
# What the kernel decides the way for, and what this machine cannot show.
different='TcpResetLive|SocketLatencyLive|KernelLatencyStagesLive|TcpSocketSourceLive|MibSourceLive'
elsewhere='writes_back|VirtCmdLatencyLive|IpvsServicesLive|FlowLive|netem|bad_network|slow_network|known_slowness|device_mapper'

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
	rm -rf "${runner:?}/$1"
	dotnet publish "$root/tests/KubeSkoop.Probes.LiveRunner" -c Release -r "linux-$1" -o "$runner/$1" -v quiet -nologo >"$log" 2>&1 </dev/null &
	wait $! || {
		cat "$log" >&2
		say "The live runner cannot be built for $1."
		exit 1
	}
}

# NAME KERNEL LIMIT COMMAND: runs in a machine with that kernel. "live" in a command is the runner, and "run" too, which tells how it ended.
in_machine() {
	local name=$1 kernel=$2 limit=$3 arguments=() architecture=x64 tool
	# What is compiled ahead stays as it is, and the rest is compiled once: the JIT would take longer than the tests.
	local environment="DOTNET_gcHeapHardLimit=30000000 DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1 DOTNET_TieredPGO=0 DOTNET_TC_CallCounting=0"
	if [[ $name == *-arm64 ]]; then
		# The programs that most tests need are not here for that architecture.
		architecture=arm64
		arguments+=(--arch arm64)
	else
		for tool in "${tools[@]}"; do ! PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || arguments+=(--program "$tool"); done
		arguments+=(--libraries-of "$runner/x64/libcoreclr.so" --libraries-of "$runner/x64/libSystem.Native.so")
		[[ ! -d /usr/lib/x86_64-linux-gnu/xtables ]] || arguments+=(--add /usr/lib/x86_64-linux-gnu/xtables:/usr/lib/x86_64-linux-gnu)
		environment+=" KUBESKOOP_EMULATED=1"
	fi
	arguments+=(--add "$runner/$architecture/.:/live")
	"$here/vm.sh" --kernel "$kernel" --limit "$limit" --memory 2048 --kernel-log "$results/$name.dmesg" ${out:+--out "$out"} "${arguments[@]}" -- "export $environment
live() { /live/KubeSkoop.Probes.LiveRunner \"\$@\"; }
$(declare -f run)
$4"
}

# ARGUMENTS...: the runner, and how it ended. A program that dies does not tell.
run() {
	live "$@"
	printf '\n@\tend\t%s\t%s\n' $? "$*"
}

# NAME LIMIT RUN...: the runner in a machine with that kernel, once for each of these arguments, into its results. A machine that dies leaves what it has told.
collect() {
	local name=$1 limit=$2 began=$SECONDS kernel reason status=0
	shift 2
	if [[ $name == *-arm64 ]] && reason=$(need_tools qemu-system-aarch64:qemu-system-arm) && [[ -n $reason ]]; then
		tell "$name" "$began" printf '@\ttest\tskipped\t0\t(the machine)\tMissing: %s\n' "$reason"
		return
	fi
	kernel=$("$here/kernels.sh" fetch "$name" 2>"$results/$name.log") || status=$?
	if [[ $status -ne 0 ]]; then
		tell "$name" "$began" printf '@\ttest\t%s\t0\t(the machine)\t%s\n' "$([[ $status -eq 3 ]] && echo skipped || echo failed)" "$(tail -n 1 "$results/$name.log")"
		return
	fi
	in_machine "$name" "$kernel" "$limit" "$(printf 'run %s\n' "$@")" >"$results/$name.log" 2>&1 || status=$?
	tell "$name" "$began" "$here/judge.sh" "$status" "$#" "$results/$name.log" "$results/$name.dmesg"
}

# NAME BEGAN COMMAND...: what the command says are that kernel's results.
tell() {
	local name=$1 began=$2
	"${@:3}" >"$results/$name.tsv"
	printf '@\ttook\t%d\n' $((SECONDS - began)) >>"$results/$name.tsv"
	say "$name: $(grep -c $'^@\ttest\tpassed' "$results/$name.tsv" || true) passed, $(grep -c $'^@\ttest\tfailed' "$results/$name.tsv" || true) failed, $(grep -c $'^@\ttest\tskipped' "$results/$name.tsv" || true) skipped ($((SECONDS - began)) s)"
}

# The same side by side: a machine has two processors and keeps one busy, as most tests do one thing after the other.
# Each in a process group of its own, which ends with this script however that ends.
machines=()
begin() {
	while [[ $(jobs -rp | wc -l) -ge $(nproc) ]]; do sleep 1; done
	set -m
	collect "$@" </dev/null &
	set +m
	machines+=($!)
}
end_machines() {
	local machine
	for machine in "${machines[@]}"; do kill -- "-$machine" 2>/dev/null || true; done
	kill $(jobs -rp) 2>/dev/null || true
}
trap end_machines EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Every machine has come to its end.
await() {
	local machine
	for machine in "${machines[@]}"; do wait "$machine" || printf '@\ttest\tfailed\t0\t(a machine)\tIts results could not be told.\n@\ttook\t0\n' >"$results/lost.tsv"; done
	machines=()
}

# Tests of what this machine cannot show must have passed somewhere, or a kernel has lost what they need.
somewhere() {
	local name
	for name in ${elsewhere//|/ } ${different//|/ }; do
		grep -qP "^@\ttest\tpassed\t[^\t]*\t[^\t]*$name" "$results"/*.tsv || printf '@\ttest\tfailed\t0\t%s\tIt passed on no kernel.\n' "$name"
	done
}

# The machine's own kernel: its live tests are ./test.sh's.
collect_native() {
	local began=$SECONDS
	live() { timeout --foreground -k 5 300 "$runner/x64/KubeSkoop.Probes.LiveRunner" "$@"; }
	(set +e && run --matrix native --only '^$') >"$results/native.log" 2>&1
	tell native "$began" "$here/judge.sh" 0 1 "$results/native.log"
}

need_machine
rm -rf "$results"
mkdir -p "$results"
publish x64
say "The live runner is built."
case $scope in
record)
	out=$(mktemp -d)
	trap 'rm -rf "$out"; end_machines' EXIT
	for name in 5.10 6.1 6.12 6.18 newest; do
		rm -rf "${out:?}"/*
		kernel=$("$here/kernels.sh" fetch "$name")
		in_machine "$name" "$kernel" 300 "live --record /out" >"$results/record-$name.log" 2>&1 || {
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
	begin 6.1 500 "--matrix 6.1 --only '$different'"
	await
	;;
all | hooks | probes)
	only=
	[[ $scope != hooks ]] || only=" --only '$different|$elsewhere'"
	[[ $scope != probes ]] || only=" --only '^\$'"
	publish arm64
	for name in 5.10 6.1 6.12 6.18 newest; do
		runs=("--matrix $name$only")
		[[ $scope == probes ]] || case $name in
		5.10 | 6.1) runs+=("--hook kprobe --only 'TcpResetLive|KernelLatencyStagesLive'") ;;
		6.12) runs+=("--hook fentry --only SocketLatencyLive") ;;
		esac
		begin "$name" 1800 "${runs[@]}"
	done
	begin 6.12-arm64 900 "--matrix 6.12-arm64 --only '^\$'"
	await
	collect_native
	if absent=$(grep -l $'^@\ttest\tskipped\t0\t(the machine)' "$results"/*.tsv); then
		say "docs/kernels.md is left as it is: nothing ran on $(xargs -n 1 basename -s .tsv <<<"$absent" | paste -sd ' ')."
	else
		missing=
		[[ $scope == probes ]] || missing=$(somewhere)
		[[ -z $missing ]] || tell all "$SECONDS" printf '%s\n' "$missing"
		enough=true
		"$here/document.sh" "$results" "$SECONDS" >"$results/kernels.md" || enough=false
		mv "$results/kernels.md" "$root/docs/kernels.md"
		$enough
	fi
	;;
*)
	say "matrix.sh knows all, hooks, probes, some and record."
	exit 2
	;;
esac
