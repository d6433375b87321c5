#!/usr/bin/env bash
# document.sh RESULTS: writes docs/kernels.md from what the live runner told on each kernel.
set -euo pipefail
results=${1:?a folder}
names=()
for name in 5.10 6.1 6.12 6.18 newest 6.12-arm64 native; do [[ ! -s $results/$name.tsv ]] || names+=("$name"); done

cat <<'TEXT'
# Kernels

Written by `./test.sh --kernels`: every probe was started on each of these kernels, and live tests were run there (`--kernels=hooks`: those of what differs from kernel to kernel; `--kernels=probes`: none). Debian's cloud kernels run in virtual machines under software
emulation; the last one is the machine's own, where the kernel is locked down (integrity), so that functions cannot be hooked, and has no kprobes.

| | kernel | architecture | live tests passed | failed | skipped |
|---|---|---|---:|---:|---:|
TEXT
for name in "${names[@]}"; do
	awk -F'\t' -v name="$name" '
		$2 == "machine" { kernel = $3; architecture = tolower($4) }
		$2 == "test" { n[$3]++ }
		END { tests = n["passed"] + n["failed"] + n["skipped"]
			printf "| %s | %s | %s | %s | %s | %s |\n", name, kernel, architecture, tests ? n["passed"] + 0 : (name == "native" ? "(see ./test.sh)" : "not run"), tests ? n["failed"] + 0 : "", tests ? n["skipped"] + 0 : "" }' "$results/$name.tsv"
done

echo
echo "## How each probe sees what it needs"
echo
printf '| probe |'; printf ' %s |' "${names[@]}"; printf '\n|---|'; printf -- '---|%.0s' "${names[@]}"; printf '\n'
cd "$results"
files=(); for name in "${names[@]}"; do files+=("$name.tsv"); done
awk -F'\t' '
	FNR == 1 { file++ }
	$2 == "probe" && $3 == "best" && $4 != "probe" {
		if (!($4 in row)) { row[$4] = ++rows; names[rows] = $4 }
		source = $6; note = ""
		if ($5 == "Unavailable") { source = "unavailable"; why = $7 }
		else if (i = index(source, " (bpf: ")) { why = substr(source, i + 2, length(source) - i - 2); source = substr(source, 1, i - 1) }
		else if (i = index(source, ", without ")) { why = substr(source, i + 2); source = substr(source, 1, i - 1) }
		else why = ""
		gsub(/\|/, "/", why)
		if (why != "") { if (!(why in number)) { number[why] = ++numbers; reasons[numbers] = why } note = " [" number[why] "]" }
		cell[$4, file] = source note
	}
	END {
		for (r = 1; r <= rows; r++) {
			printf "| %s |", names[r]
			for (f = 1; f <= file; f++) printf " %s |", cell[names[r], f]
			printf "\n"
		}
		if (numbers) printf "\n"
		for (n = 1; n <= numbers; n++) printf "%d. %s\n", n, reasons[n]
	}' "${files[@]}"

echo
echo "## Ways that were asked for"
echo
echo "With \`KubeSkoop:Ebpf:Hook\` set, on the kernels that have that way:"
echo
awk -F'\t' '$2 == "machine" { kernel = $3 } $2 == "probe" && $3 != "best" && $3 != "tp_btf" && $5 == "Running" { printf "- %s, `%s`: %s: %s\n", kernel, $3, $4, $6 }' "${files[@]}"

echo
echo "## What failed"
echo
awk -F'\t' '$2 == "machine" { kernel = $3 } $2 == "test" && $3 == "failed" { failed++; message = $6; sub(/ \| .*/, "", message); gsub(/[<>|`]/, " ", message); printf "- %s: %s: %s\n", kernel, $5, substr(message, 1, 300) } END { if (!failed) print "Nothing." }' "${files[@]}"
