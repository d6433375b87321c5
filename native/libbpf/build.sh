#!/usr/bin/env bash
# Links a libbpf.so that needs nothing but the C library, from the static archives of Debian's libbpf, libelf and zlib.
#   native/libbpf/build.sh x64|arm64 DIRECTORY
# Writes DIRECTORY/libbpf.so, and beside it libbpf.sources.txt: the source packages it was made of.
# The archives are those of Debian's suite $LIBBPF_SUITE (trixie), fetched beside the system: nothing is installed, and apt's
# configuration stays as it is. Where they cannot be had, or with LIBBPF_SUITE=system, the installed libbpf-dev serves.
# Ends with 3 when this machine cannot build for that architecture; says why.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { printf '%s\n' "libbpf: $*" >&2; }

[[ $# -eq 2 ]] || {
	sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
	exit 2
}
case $1 in
x64) debian=amd64 triplet=x86_64-linux-gnu ;;
arm64) debian=arm64 triplet=aarch64-linux-gnu ;;
*)
	say "knows x64 and arm64, not '$1'."
	exit 2
	;;
esac
mkdir -p "$2"
output=$(cd "$2" && pwd)
suite=${LIBBPF_SUITE:-trixie}
packages=(libbpf-dev libelf-dev zlib1g-dev)

# Two builds at once: the second waits, and finds the first one's work.
exec 9>"$output/.lock"
flock 9
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [[ $(uname -m) == "${triplet%%-*}" ]]; then
	native=true compiler=${CC:-clang}
else
	native=false compiler=$triplet-gcc
fi
compiler_packages=clang
$native || compiler_packages="gcc-${triplet//_/-} libc6-dev-$debian-cross"
if ! "$compiler" -E -include stdio.h -x c /dev/null -o /dev/null 2>/dev/null; then
	say "there is no compiler '$compiler' with the C library's headers. On Debian: apt-get install $compiler_packages"
	exit 3
fi
if ! command -v llvm-objcopy >/dev/null; then
	say "'llvm-objcopy' is missing. On Debian: apt-get install llvm"
	exit 3
fi

# Where the archives of the suite lie; fails when they cannot be had.
fetch() {
	local mirror home=$output/$suite-$debian options
	if [[ ! -e $home/complete ]]; then
		command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
		mirror=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' | awk '$1 == "Debian" && !/security/ { print $2; exit }')
		[[ -n $mirror ]] || return 1
		say "fetching ${packages[*]} ($debian) of Debian $suite ..."
		rm -rf "$home"
		mkdir -p "$home/apt/lists/partial" "$home/apt/cache/archives/partial" "$home/root"
		echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$home/apt/sources.list"
		options=(-qq -o Dir::State::Lists="$home/apt/lists" -o Dir::Cache="$home/apt/cache" -o Dir::State::status=/dev/null
			-o Dir::Etc::SourceList="$home/apt/sources.list" -o Dir::Etc::SourceParts=- -o Dir::Etc::Parts=-
			-o APT::Architecture="$debian" -o APT::Architectures="$debian" -o APT::Sandbox::User=""
			-o Acquire::Languages=none -o Acquire::Retries=2 -o Acquire::http::Timeout=20)
		timeout 120 apt-get "${options[@]}" update >"$work/apt.log" 2>&1 </dev/null &&
			(cd "$home/root" && timeout 120 apt-get "${options[@]}" download "${packages[@]}") >>"$work/apt.log" 2>&1 </dev/null || {
			say "cannot fetch them: $(grep -m1 '^E:' "$work/apt.log" || tail -n1 "$work/apt.log")"
			rm -rf "$home"
			return 1
		}
		local deb
		for deb in "$home"/root/*.deb; do
			dpkg-deb -x "$deb" "$home/root"
			dpkg-deb --showformat '${source:Package} ${source:Version}\n' -W "$deb"
		done >"$home/sources.txt"
		rm -rf "$home"/root/*.deb "$home/apt"
		touch "$home/complete"
	fi
	archives=$home/root/usr/lib/$triplet
	cp "$home/sources.txt" "$work/sources.txt"
}

# The installed ones.
installed() {
	local name
	$native || return 1
	archives=/usr/lib/$triplet
	for name in bpf elf z; do [[ -e $archives/lib$name.a ]] || return 1; done
	dpkg-query -W -f '${source:Package} ${source:Version}\n' "${packages[@]/%/:$debian}" >"$work/sources.txt" 2>/dev/null ||
		echo "unknown: archives of $archives" >"$work/sources.txt"
}

if ! { [[ $suite != system ]] && fetch; } && ! installed; then
	if $native; then
		say "there are no static archives, neither of Debian $suite nor installed. On Debian: apt-get install ${packages[*]}"
	else
		say "the static archives of Debian $suite for $debian cannot be had."
	fi
	exit 3
fi

# Archives made with a newer C library ask for its C23 variants of scanf and strtol; the plain ones serve, and are everywhere.
renames=(--redefine-sym stderr=libbpf_stderr)
for function in fscanf sscanf strtol strtoul strtoll strtoull; do renames+=(--redefine-sym "__isoc23_$function=$function"); done
for name in bpf elf; do llvm-objcopy "${renames[@]}" "$archives/lib$name.a" "$work/lib$name.a"; done

"$compiler" -shared -fPIC -O2 -Wall -Wextra -Werror -ffile-prefix-map="$here/=" -o "$work/libbpf.so" "$here/shim.c" \
	-Wl,--whole-archive "$work/libbpf.a" -Wl,--no-whole-archive "$work/libelf.a" "$archives/libz.a" \
	-Wl,--version-script="$here/exports.map" -Wl,-soname,libbpf.so.1 -Wl,-z,defs -Wl,-z,relro,-z,now -Wl,--gc-sections \
	-Wl,--build-id=sha1 -s
mv -f "$work/sources.txt" "$output/libbpf.sources.txt"
mv -f "$work/libbpf.so" "$output/libbpf.so"
say "linked $output/libbpf.so of $(paste -sd, "$output/libbpf.sources.txt" | sed 's/,/, /g')"
