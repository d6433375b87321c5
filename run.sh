#!/usr/bin/env bash
# Runs the sample exporter with the given arguments; builds first when a source is newer than the last build.
# Without arguments it serves the numbers of this machine at http://127.0.0.1:9102/metrics.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/prerequisites.sh
. "$root/scripts/prerequisites.sh"

project=$root/samples/KubeSkoop.Exporter
exporter=$project/bin/Release/net10.0/KubeSkoop.Exporter
stamp=$project/obj/run.stamp
sources=("$root/src" "$root/bpf" "$root/native" "$project" "$root"/Directory.*.props "$root/global.json")

# Prints something when a file was changed, added or removed (its directory is newer then) after the given mark.
newer_than() {
	find "${sources[@]}" \( -name bin -o -name obj -o -name TestResults \) -prune -o -newer "$1" -print -quit
}

build() {
	local began log
	began=$(mktemp)
	log=$(mktemp)
	say "Building the exporter (once; half a minute) ..."
	if ! (cd "$root" && dotnet build "$project" -c Release -v quiet -nologo -clp:NoSummary) >"$log" 2>&1 </dev/null; then
		cat "$log" >&2
		rm -f "$began" "$log"
		return 1
	fi
	touch "$stamp"
	# A source saved while the compiler ran is for the next start.
	[[ -z $(find "${sources[@]}" -type f -newer "$began" -not -path '*/bin/*' -not -path '*/obj/*' -print -quit) ]] || rm -f "$stamp"
	rm -f "$began" "$log"
}

if [[ ! -x $exporter || ! -e $stamp || -n $(newer_than "$stamp") ]]; then
	if need_sdk && need_bpf_tools; then
		build
	elif [[ -x $exporter ]]; then
		say "Running what was built earlier."
	else
		exit 1
	fi
else
	find_sdk || true
fi

if [[ $EUID -ne 0 ]]; then
	say "Not root: only network namespaces of your own processes can be read. Run it with sudo to see all."
fi
exec "$exporter" "$@"
