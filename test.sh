#!/usr/bin/env bash
# Builds, runs every test and check, and ends with one line: N passed, N failed, N skipped.
#   ./test.sh                 everything
#   ./test.sh --update-docs   the same, but writes the generated documents and accepts changed snapshots
#   ./test.sh --record        records what each of these kernels says, as fixtures for the parsers, into tests/Fixtures
#   ./test.sh --kernels       the live tests on five kernels in virtual machines; writes docs/kernels.md (three quarters of an hour with two processors;
#                             --kernels=hooks: those of what differs; --kernels=probes: only starts every probe)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$root"
# shellcheck source=scripts/prerequisites.sh
. scripts/prerequisites.sh

update=false kernels=some
case ${1:-} in
"") ;;
--update-docs) update=true ;;
--kernels) kernels=all ;;
--kernels=hooks | --kernels=probes) kernels=${1#*=} ;;
--record) exec tests/KubeSkoop.Probes.IntegrationTests/Vm/matrix.sh record ;;
-h | --help)
	sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
	exit 0
	;;
*)
	say "test.sh knows only --update-docs, --kernels and --record, not '$1'."
	exit 2
	;;
esac

results=$root/artifacts/test-results
solution=KubeSkoop.Probes.sln
passed=0 failed=0 skipped=0 skips=()
rm -rf "$results"
mkdir -p "$results"

# What runs ends with this script.
trap 'kill $(jobs -rp) 2>/dev/null || true; wait || true' EXIT
trap 'exit 130' INT TERM
attend() {
	local code=0
	"$@" </dev/null &
	wait $! || code=$?
	return "$code"
}

finish() {
	local skip
	if [[ ${#skips[@]} -gt 0 ]]; then
		echo "Skipped:"
		for skip in "${skips[@]}"; do echo "  $skip"; done
	fi
	if [[ -s $results/anew.txt ]]; then
		echo "Run anew, as the kernel's tracer has seen what the kernel kept from BPF:"
		sed 's/^/  /' "$results/anew.txt"
	fi
	echo "Took $((SECONDS / 60)) min $((SECONDS % 60)) s."
	echo "$passed passed, $failed failed, $skipped skipped"
	if [[ $failed -gt 0 || $passed -eq 0 ]]; then exit 1; fi
	exit 0
}

# A check counts like a test.
check() {
	local name=$1 log=$results/check.log
	shift
	if attend "$@" >"$log" 2>&1; then
		passed=$((passed + 1))
		echo "ok      $name"
	else
		failed=$((failed + 1))
		echo "FAILED  $name"
		sed 's/^/        /' "$log"
		return 1
	fi
}

unescape() { sed -e 's/&lt;/</g; s/&gt;/>/g; s/&quot;/"/g; s/&apos;/'"'"'/g; s/&#x[ADad];/ /g; s/&amp;/\&/g'; }

# NAME: runs the tests of one assembly into the results, with their exit status. A run that hangs is a failure, not a wait.
dotnet_test() {
	local code=0 began=$SECONDS run
	timeout --kill-after=30 1200 dotnet test "tests/$1/bin/Release/net10.0/$1.dll" --nologo --logger "trx;LogFileName=$results/$1.trx" \
		--results-directory "$results" >"$results/$1.log" 2>&1 </dev/null &
	run=$!
	trap 'kill "$run" 2>/dev/null || true; wait "$run" || true; exit 143' TERM
	wait "$run" || code=$?
	echo "$code $((SECONDS - began))" >"$results/$1.ended"
}

# NAME: adds up what the tests of that assembly gave.
add_tests() {
	local name=$1 trx=$results/$1.trx code=missing took=0 p f s
	[[ ! -s $results/$name.ended ]] || read -r code took <"$results/$name.ended"
	p=0 f=0 s=0
	if [[ -f $trx ]]; then
		p=$(grep -c '<UnitTestResult .*outcome="Passed"' "$trx") || true
		f=$(grep -c '<UnitTestResult .*outcome="Failed"' "$trx") || true
		s=$(grep -c '<UnitTestResult .*outcome="NotExecuted"' "$trx") || true
	fi
	# A run that broke, or found nothing, must not look like a good one.
	if [[ $((p + f + s)) -eq 0 ]] || [[ $code != 0 && $f -eq 0 ]]; then
		f=$((f + 1))
		say "$name ended with $code after $((p + s)) tests; its output:"
		tail -n 40 "$results/$name.log" >&2
	elif [[ $f -gt 0 ]]; then
		grep -v -e '^Starting test' -e '^A total of' -e '\[SKIP\]' -e '^  Skipped ' -e '^Results File' "$results/$name.log" || true
	fi
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	printf '%-7s %s: %d passed, %d failed, %d skipped (%d s)\n' "$([[ $f -eq 0 ]] && echo ok || echo FAILED)" "$name" "$p" "$f" "$s" "$took"
	[[ $s -eq 0 ]] || mapfile -t -O "${#skips[@]}" skips < <(awk '
		/<UnitTestResult / { name = $0; sub(/.* testName="/, "", name); sub(/".*/, "", name); open = /outcome="NotExecuted"/ }
		open && /<Message>/ { why = $0; sub(/.*<Message>/, "", why); sub(/<\/Message>.*/, "", why); print name ": " why; open = 0 }
		/<\/UnitTestResult>/ { if (open) print name ": (no reason given)"; open = 0 }' "$trx" | unescape)
}

# NAME...: the tests of these assemblies, one after the other.
run_tests() {
	local name
	for name in "$@"; do
		attend dotnet_test "$name" || true # what did not end is told as such
		add_tests "$name"
	done
}

# Live tests in virtual machines with other kernels; each counts as a test.
begin_kernels() {
	tests/KubeSkoop.Probes.IntegrationTests/Vm/matrix.sh "$1" >"$results/kernels.log" 2>&1 </dev/null &
	machines=$!
}

end_kernels() {
	local code=0 log=$results/kernels.log name p f s took
	wait "$machines" || code=$?
	if [[ $code -ne 0 && $code -ne 3 ]]; then
		failed=$((failed + 1))
		echo "FAILED  other kernels: ended with $code"
		tail -n 20 "$log" >&2
	elif [[ $code -eq 3 ]]; then
		skipped=$((skipped + 1))
		skips+=("Live tests on other kernels: $(tail -n 1 "$log")")
	fi
	for name in "$results"/kernels/*.tsv; do
		[[ -e $name ]] || continue
		p=$(grep -c $'^@\ttest\tpassed' "$name") || true
		f=$(grep -c $'^@\ttest\tfailed' "$name") || true
		s=$(grep -c $'^@\ttest\tskipped' "$name") || true
		took=$(awk -F'\t' '$2 == "took" { print $3 }' "$name")
		passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
		name=$(basename "$name" .tsv)
		printf '%-7s Linux %s: %d passed, %d failed, %d skipped (%d s)\n' "$([[ $f -eq 0 ]] && echo ok || echo FAILED)" "$name" "$p" "$f" "$s" "$took"
		awk -F'\t' '$2 == "test" && $3 == "failed" { printf "        %s: %s\n", $5, $6 }' "$results/kernels/$name.tsv"
		[[ $s -eq 0 ]] || mapfile -t -O "${#skips[@]}" skips < <(awk -F'\t' -v name="$name" '$2 == "test" && $3 == "skipped" { print "Linux " name ": " $5 ": " $6 }' "$results/kernels/$name.tsv")
	done
}

# Building the virtual machine's runner writes what the format is read from, and what the tests it is made of are started from.
await_runner() {
	until grep -qs 'live runner is built' "$results/kernels.log" || ! kill -0 "$machines" 2>/dev/null; do sleep 1; done
}

# What takes no times, at the lowest priority.
check_texts() {
	check "fuzz every parser, 3,000 texts each" nice -n 19 dotnet tests/KubeSkoop.Probes.Fuzz/bin/Release/net10.0/KubeSkoop.Probes.Fuzz.dll \
		all --iterations 3000 --corpus tests/Fixtures || true
	check "generated documents are current" docs_are_current || true
	check "format (dotnet format)" nice -n 19 dotnet format "$solution" --no-restore --verify-no-changes || true
}

# Documents made from the probes' descriptors, written below the given directory.
generate_docs() {
	exec "$root/samples/KubeSkoop.Exporter/bin/Release/net10.0/KubeSkoop.Exporter" docs --output "$1"
}

docs_are_current() {
	local file stale=0
	fresh=$(mktemp -d)
	trap 'kill $(jobs -rp) 2>/dev/null || true; rm -rf "$fresh"' EXIT
	trap 'exit 143' INT TERM
	attend generate_docs "$fresh" || stale=1
	[[ -n $(find "$fresh" -type f -print -quit) ]] || stale=1
	while IFS= read -r file; do
		diff -u "docs/$file" "$fresh/$file" | head -n 40 || stale=1
	done < <(cd "$fresh" && find . -type f -printf '%P\n')
	[[ $stale -eq 0 ]] || echo "Generated documents are not current: run ./test.sh --update-docs and read the difference."
	return "$stale"
}

# Snapshots that differ lie in __mismatch__ beside the accepted ones; accepting moves them over.
accept_snapshots() {
	local file accepted
	while IFS= read -r file; do
		accepted=$(dirname "$(dirname "$file")")/$(basename "$file")
		echo "accepted ${accepted#./}"
		mv -f "$file" "$accepted"
	done < <(find tests -path '*/__mismatch__/*' -type f)
	find tests -name __mismatch__ -type d -empty -delete
}

mapfile -t missing < <(need_tools ip:iproute2 ss:iproute2 nstat:iproute2 ps:procps curl:curl unshare:util-linux \
	setpriv:util-linux conntrack:conntrack nft:nftables iptables:iptables bpftool:bpftool)
for tool in "${missing[@]}"; do say "Missing: $tool. Tests that need it are skipped."; done
# Prometheus's own checker; its package would start a server.
if promtool=$(unpack_tool promtool prometheus); then
	export PATH="$PATH:$(dirname "$promtool")"
else
	say "Missing: 'promtool' (Debian package prometheus). Tests that need it are skipped."
fi
# A container runtime for the tests about pods, which start one of their own; its package would start a service.
if containerd=$(unpack_tool containerd containerd) && need_container_tools; then
	export PATH="$PATH:$(dirname "$containerd")"
else
	say "Missing: a container runtime (Debian packages containerd, runc, containernetworking-plugins, busybox-static). Tests that need it are skipped."
fi
[[ $EUID -eq 0 ]] || say "Not root: tests that make network namespaces are skipped. Run it with sudo to run all."
if [[ $(uname -m) == x86_64 && ! (-x /usr/bin/aarch64-linux-gnu-gcc && -e /usr/aarch64-linux-gnu/include/stdio.h) ]]; then
	apt_install gcc-aarch64-linux-gnu libc6-dev-arm64-cross || say "Missing: a cross compiler (Debian packages gcc-aarch64-linux-gnu, libc6-dev-arm64-cross). The package goes without libbpf for arm64."
fi
if ! need_sdk || ! need_bpf_tools; then
	failed=1
	finish
fi

find tests -name __mismatch__ -type d -prune -exec rm -rf {} +
check "restore" dotnet restore "$solution" -v quiet || finish
check "build (Release, warnings are errors)" dotnet build "$solution" -c Release --no-restore -v quiet -nologo || finish

if $update; then
	attend generate_docs docs
	for project in tests/*Tests; do
		[[ -z $(find "$project" -name __snapshots__ -not -path '*/bin/*' -print -quit) ]] || run_tests "$(basename "$project")" >/dev/null 2>&1
	done
	accept_snapshots
	passed=2 failed=0 skipped=0 skips=()
else
	# New snapshots are accepted by a person, never by the run that made them.
	export SNAPSHOOTER_STRICT_MODE=true
fi

if [[ $kernels != some ]]; then
	begin_kernels "$kernels"
	end_kernels
	finish
fi

# The virtual machine keeps one processor busy, and the tests about pods mostly wait: what takes no times runs beside them, the rest after them.
begin_kernels some
dotnet_test KubeSkoop.Probes.Kubernetes.Tests &
pods=$!
run_tests KubeSkoop.Exporter.Tests KubeSkoop.Probes.Tests
await_runner
run_tests KubeSkoop.Probes.Procfs.Tests
check_texts
wait "$pods" || true
add_tests KubeSkoop.Probes.Kubernetes.Tests
end_kernels
run_tests KubeSkoop.Probes.Netlink.Tests KubeSkoop.Probes.IntegrationTests KubeSkoop.Probes.Ebpf.Tests
for project in tests/*Tests; do
	[[ -e $results/$(basename "$project").ended ]] || run_tests "$(basename "$project")" # a new one is not forgotten
done
finish
