#!/usr/bin/env bash
# judge.sh STATUS RUNS OUTPUT [KERNEL_LOG]: what the live runner told in a machine, and a failed test for whatever else went wrong there.
#   STATUS      how the machine ended, as vm.sh says it
#   RUNS        how often the runner was to run; each run is followed by a line "@<TAB>end<TAB>exit status<TAB>arguments"
#   OUTPUT      all that was said in the machine
#   KERNEL_LOG  what its kernel said meanwhile
set -euo pipefail
export LC_ALL=C
status=$1 runs=$2 output=$3 log=${4:-}

# Complaints of the kernel that say nothing about the probes, one a line: a part of the text, and why.
known=(
	'soft lockup' # where the machine around it is busy, the emulated processor stands still
)

fail() {
	local why=${2//[$'\n\t']/ }
	printf '@\ttest\tfailed\t0\t%s\t%s\n' "$1" "${why:0:600}"
}

whole=true
awk -F'\t' -v runs="$runs" '
	!/^@\t/ { next }
	{ print }
	$2 == "test" { tests++ }
	$2 == "test" && $3 == "failed" { failed++ }
	$2 == "end" {
		name = "(run " ++ends ": " $4 ")"
		if ($3 > 1 || $3 == 1 && !failed) printf "@\ttest\tfailed\t0\t%s\tIt ended with %d and told of %d failed tests.\n", name, $3, failed
		else if (!tests) printf "@\ttest\tfailed\t0\t%s\tIt told of no test.\n", name
		tests = failed = 0
	}
	END { exit ends != runs }' "$output" || whole=false
if ! $whole || [[ $status -ne 0 ]]; then
	fail "(the machine)" "It ended with $status, after $(grep -ac $'^@\tend' "$output" || true) of $runs runs; its last words: $(tail -n 3 "$output")"
elif [[ -n $log && ! -e $log ]]; then
	fail "(the kernel)" "Its log is not there."
fi
if [[ -e $log ]]; then
	# What a warning is about stands in the line before.
	awk '/WARNING: |BUG[: ]|blocked for more than|detected (expedited )?stalls|self-detected stall|Oops|Internal error: |\[#[0-9]+\]/ { print (before ~ /cut here/ ? "" : before " ") $0 } { before = $0 }' "$log" |
		grep -vF "${known[@]/#/-e}" | head -n 5 | while IFS= read -r line; do fail "(the kernel)" "$line"; done || true
fi
