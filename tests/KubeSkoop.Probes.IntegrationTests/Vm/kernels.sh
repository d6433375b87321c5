#!/usr/bin/env bash
# Fetches Debian's kernels for the virtual machines, beside the machine's own apt configuration, and keeps them outside the tree.
#   kernels.sh list          their names, one a line
#   kernels.sh fetch NAME    makes sure that the archive's newest is here; prints its folder
# KUBESKOOP_KERNELS: where they are kept, by version (default: kubeskoop-probes/kernels in the user's cache). Exit status 3: it cannot be had, and why.
set -euo pipefail

cache=${KUBESKOOP_KERNELS:-${XDG_CACHE_HOME:-$HOME/.cache}/kubeskoop-probes/kernels}

# Name, architecture, Debian archive, suite. Exact versions vanish from the archive when a new one comes, so they are looked up.
table='
5.10        amd64 debian-security bullseye-security
6.1         amd64 debian          bookworm
6.12        amd64 debian          trixie
6.18        amd64 debian          trixie-backports
newest      amd64 debian          trixie-backports
6.12-arm64  arm64 debian          trixie
'

say() { printf '%s\n' "$*" >&2; }

# The root of the archive this machine uses.
archive_of() {
	local uri
	while read -r uri; do
		case $uri in
		*/"$1" | */"$1"/)
			printf '%s\n' "${uri%/}"
			return
			;;
		esac
	done < <(apt-get indextargets --format '$(REPO_URI)' | sort -u)
	say "apt on this machine knows no archive called $1."
	return 1
}

fetch() {
	local name=$1 arch archive suite uri apt said prefix image version folder packages
	read -r _ arch archive suite < <(awk -v name="$name" '$1 == name' <<<"$table") || {
		say "No kernel is called '$name'. Their names: $(awk 'NF { printf "%s ", $1 }' <<<"$table")"
		return 2
	}
	uri=$(archive_of "$archive") || return 3
	mkdir -p "$cache"
	# Several runs may share what is here.
	exec 9>"$cache/lock"
	flock 9
	# What the archive has is kept: it is asked each time, which is little when nothing is new, and without a network the kernel it had last is taken.
	apt=$cache/apt/$suite-$arch
	mkdir -p "$apt"/{lists,cache/archives}/partial
	echo "deb [arch=$arch] $uri $suite main" >"$apt/sources.list"
	local options=(-qq -o "Dir::State::Lists=$apt/lists" -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::Cache=$apt/cache"
		-o "APT::Architecture=$arch" -o "APT::Architectures::=$arch" -o APT::Sandbox::User=root -o Acquire::Languages=none)
	said=$(apt-get "${options[@]}" update 2>&1 | tr '\n' ' ') || true
	if [[ $name == newest ]]; then
		image=$(apt-cache "${options[@]}" show "linux-image-cloud-$arch" | sed -n 's/^Depends:.*\(linux-image-[0-9][^ ,]*\).*/\1/p' | sort -V | tail -1) || true
	else
		prefix=linux-image-${name%-*}
		image=$(apt-cache "${options[@]}" pkgnames "$prefix." | grep -E -- "^${prefix//./\\.}\.[^ ]*[0-9]-cloud-$arch$|^${prefix//./\\.}\.[^ ]*deb[0-9]+-cloud-$arch$" | sort -V | tail -1) || true
	fi
	[[ -n $image ]] || { say "There is no kernel $name for $arch to be had: ${said:-the archive has none any more}"; return 3; }
	version=${image#linux-image-}
	folder=$cache/$version
	if [[ ! -d $folder ]]; then
		say "Fetching Linux $version ..."
		packages=("$image")
		# From 7.2 on the image is an empty package that needs two others.
		if [[ -n $(apt-cache "${options[@]}" pkgnames "linux-modules-$version") ]]; then packages=("linux-binary-$version" "linux-modules-$version"); fi
		rm -rf "$cache/new"
		unpack "$cache/new/root" "${packages[@]}"
		[[ -n $(find "$cache/new/root" -name 'vmlinuz*' -print -quit) ]] || { say "The packages ${packages[*]} hold no kernel."; return 1; }
		# Of another architecture this machine has no programs to copy from.
		[[ $arch == "$(dpkg --print-architecture)" ]] || unpack "$cache/new/base" busybox-static libc6 libgcc-s1 libstdc++6 dash
		mv "$cache/new" "$folder"
	fi
	# Those that a newer one has replaced go when nobody has asked for them for a month.
	touch "$folder"
	find "$cache" -mindepth 1 -maxdepth 1 -name '*-cloud-*' -mtime +30 -exec rm -rf {} +
	printf '%s\n' "$folder"
}

# FOLDER PACKAGE...: what these packages hold.
unpack() {
	local folder=$1 deb said
	shift
	mkdir -p "$folder.packages"
	said=$(cd "$folder.packages" && apt-get "${options[@]}" download "$@" 2>&1) || { say "Cannot fetch $*: ${said//$'\n'/ }"; exit 3; }
	mkdir -p "$folder"
	for deb in "$folder.packages"/*.deb; do dpkg -x "$deb" "$folder"; done
	rm -rf "$folder.packages"
}

case ${1:-} in
list) awk 'NF { print $1 }' <<<"$table" ;;
fetch) fetch "${2:?a kernel\'s name}" ;;
*)
	sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
	exit 2
	;;
esac
