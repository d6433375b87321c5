#!/usr/bin/env bash
# Compares with a peer, in one run; the last lines are "ratio <what>: <number>", the most important one last.
#   ./bench.sh <name> [--quick]   one comparison; --quick only shows that it works
#   ./bench.sh all [--quick]      every one
#   ./bench.sh list               their names
#   ./bench.sh parts [...]        the parts, by BenchmarkDotNet (arguments are its own; --dry runs each once)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$root"
# shellcheck source=scripts/prerequisites.sh
. scripts/prerequisites.sh

names=(daily parsers scrape node-exporter conntrack qdisc tcpsummary ring overhead cluster)
project=benchmarks/KubeSkoop.Probes.Benchmarks
program=$root/$project/bin/Release/net10.0/KubeSkoop.Probes.Benchmarks.dll
exporter=$root/samples/KubeSkoop.Exporter/bin/Release/net10.0/KubeSkoop.Exporter.dll
native=$root/artifacts/bench
limit=300

usage() {
	sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
	printf 'names: %s\n' "${names[*]}"
}

# Other work on the machine disturbs less; without root it simply disturbs.
quiet=()
[[ $EUID -ne 0 ]] || ! nice -n -15 true 2>/dev/null || quiet=(nice -n -15)

build() {
	local log missing
	missing=$(need_tools gcc:gcc)
	[[ -z $missing ]] || { say "Missing: $missing"; exit 1; }
	need_sdk
	need_bpf_tools
	mkdir -p "$native"
	log=$(mktemp)
	for source in benchmarks/native/*.c; do
		case $source in
		*/lib*) gcc -O2 -Wall -Wextra -Werror -shared -fPIC -o "$native/$(basename "$source" .c).so" "$source" ;;
		*) gcc -O2 -Wall -Wextra -Werror -o "$native/$(basename "$source" .c)" "$source" ;;
		esac
	done
	say "Building the benchmarks ..."
	dotnet build "$project" -c Release -v quiet -nologo -clp:NoSummary >"$log" 2>&1 </dev/null || { cat "$log" >&2; rm -f "$log"; exit 1; }
	rm -f "$log"
}

# In a pid namespace of its own: it sees only what it makes, and all of that ends with it.
apart=()
run_apart() {
	if [[ $EUID -ne 0 ]]; then
		say "'$name' makes namespaces of its own and needs root. Run it with sudo."
		exit 1
	fi
	"${quiet[@]}" timeout --foreground --kill-after=5 "$limit" unshare "${apart[@]}" --pid --mount-proc --fork --kill-child dotnet "$program" "$@"
}

run() {
	local name=$1 peer
	shift
	case $name in
	daily | qdisc) run_apart "$name" --native "$native" "$@" ;;
	conntrack | tcpsummary)
		apart=(--net) # without the machine's own connections
		run_apart "$name" --native "$native" "$@"
		;;
	ring) run_apart ring --native "$native" "$@" ;;
	overhead)
		limit=900
		apart=(--net) # without the machine's own packets
		run_apart overhead --native "$native" "$@"
		;;
	parsers) "${quiet[@]}" timeout --foreground --kill-after=5 "$limit" dotnet "$program" parsers --native "$native" "$@" ;;
	cluster) "${quiet[@]}" timeout --foreground --kill-after=5 "$limit" dotnet "$program" cluster --fixtures "$root/tests/Fixtures/kubernetes-api" "$@" ;;
	scrape) "${quiet[@]}" timeout --foreground --kill-after=5 "$limit" dotnet "$program" scrape "$@" ;;
	node-exporter)
		peer=$(unpack_tool prometheus-node-exporter prometheus-node-exporter) || {
			say "Debian's package prometheus-node-exporter cannot be fetched; install it, then run this again."
			exit 1
		}
		run_apart node-exporter --node-exporter "$peer" --exporter "$exporter" "$@"
		;;
	esac
}

name=${1:-}
[[ $# -eq 0 ]] || shift
case $name in
list) printf '%s\n' "${names[@]}" ;;
all)
	build
	failed=()
	for name in "${names[@]}"; do
		echo "== $name"
		(run "$name" "$@") || failed+=("$name")
	done
	[[ ${#failed[@]} -eq 0 ]] || { say "Failed: ${failed[*]}"; exit 1; }
	;;
parts)
	build
	cd "$native"
	exec dotnet "$program" "$@"
	;;
"" | -h | --help) usage ;;
*)
	if [[ " ${names[*]} " != *" $name "* ]]; then
		say "There is no comparison '$name'."
		usage >&2
		exit 2
	fi
	build
	run "$name" "$@"
	;;
esac
