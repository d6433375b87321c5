#!/usr/bin/env bash
# document.sh RESULTS SECONDS: writes docs/kernels.md from what was told on each kernel (matrix.sh), in so many seconds.
# Exit status 1: too few of the probes run, or are unavailable for a reason that is known.
set -euo pipefail
results=${1:?a folder} seconds=${2:?how long it took}
least=95 # per cent
cd "$results"
names=() files=()
for name in 5.10 6.1 6.12 6.18 newest 6.12-arm64 native; do [[ ! -e $name.tsv ]] || names+=("$name") files+=("$name.tsv"); done

cat <<'TEXT'
# Kernels

Written by `./test.sh --kernels`: every probe was started and sampled on each of these kernels, which counts as a test for each of them, and live tests were run there (`--kernels=hooks`: those of what differs from kernel to kernel; `--kernels=probes`: none; on arm64 none; those of
the machine's own kernel are `./test.sh`'s). Debian's cloud kernels run in virtual machines under software emulation; the last one is the kernel of the machine that this was written on.
TEXT
cat <<TEXT

These runs took $(((seconds + 59) / 60)) minutes.

| | kernel | architecture | tests passed | failed | skipped | seconds |
|---|---|---|---:|---:|---:|---:|
TEXT
for name in "${names[@]}"; do
	awk -F'\t' -v name="$name" '
		$2 == "machine" { kernel = $3; architecture = tolower($4) }
		$2 == "test" { n[$3]++ }
		$2 == "took" { seconds = $3 }
		END { printf "| %s | %s | %s | %d | %d | %d | %d |\n", name, kernel, architecture, n["passed"], n["failed"], n["skipped"], seconds }' "$name.tsv"
done

echo
echo "## How each probe sees what it needs"
echo
printf '| probe |'; printf ' %s |' "${names[@]}"; printf '\n|---|'; printf -- '---|%.0s' "${names[@]}"; printf '\n'
enough=true
awk -F'\t' -v least="$least" '
	FNR == 1 { file++ }
	$2 == "test" && $3 == "skipped" && $5 == "(the machine)" { absent[file] = 1 }
	$2 == "probe" && $3 == "best" && $4 != "probe" {
		if (!($4 in row)) { row[$4] = ++rows; names[rows] = $4 }
		source = $6; note = ""
		if ($5 != "Running") { source = tolower($5); why = $7 }
		else if (i = index(source, " (bpf: ")) { why = substr(source, i + 2, length(source) - i - 2); source = substr(source, 1, i - 1) }
		else if (i = index(source, ", without ")) { why = substr(source, i + 2); source = substr(source, 1, i - 1) }
		else why = ""
		gsub(/\|/, "/", why)
		if (why != "") { if (!(why in number)) { number[why] = ++numbers; reasons[numbers] = why } note = " [" number[why] "]" }
		cell[$4, file] = source note
		if ($5 == "Running" && $8 != "less" || $8 == "known") good++
	}
	END {
		for (r = 1; r <= rows; r++) {
			printf "| %s |", names[r]
			for (f = 1; f <= file; f++) {
				if (!absent[f]) cells++
				printf " %s |", (names[r], f) in cell ? cell[names[r], f] : absent[f] ? "not run" : "not told"
			}
			printf "\n"
		}
		if (numbers) printf "\n"
		for (n = 1; n <= numbers; n++) printf "%d. %s\n", n, reasons[n]
		printf "\n%d of these %d run, or need not run there for a reason that is known and listed (tests/KubeSkoop.Probes.LiveRunner/KnownGaps.cs).\n", good, cells
		exit !cells || good * 100 < cells * least
	}' "${files[@]}" || enough=false

echo
echo "## Ways that were asked for"
echo
echo "With \`KubeSkoop:Probes:Ebpf:Hook\` set, on the kernels that have that way. Each was started and read; live tests by such a way are those of tcpreset and kernellatency (kprobe, on 5.10 and 6.1) and socketlatency (fentry, on 6.12):"
echo
# A machine that died at once has not even told its kernel.
awk -F'\t' 'FNR == 1 { kernel = FILENAME; sub(/\.tsv$/, "", kernel) } $2 == "machine" { kernel = $3 } $2 == "probe" && $3 != "best" && $3 != "tp_btf" && $5 == "Running" { printf "- %s, `%s`: %s: %s\n", kernel, $3, $4, $6 }' "${files[@]}"

echo
echo "## What failed"
echo
awk -F'\t' 'FNR == 1 { kernel = FILENAME; sub(/\.tsv$/, "", kernel) } $2 == "machine" { kernel = $3 }
	$2 == "test" && ($3 == "failed" || $3 == "skipped" && $5 == "(the machine)") { some++; message = $6; sub(/ \| .*/, "", message); gsub(/[<>|`]/, " ", message); printf "- %s: %s: %s%s\n", kernel, $5, $3 == "skipped" ? "not run: " : "", substr(message, 1, 300) }
	END { if (!some) print "Nothing." }' "${files[@]}"

$enough || { echo "Less than $least % of the probes run, or are unavailable for a reason that is known." >&2; exit 1; }
