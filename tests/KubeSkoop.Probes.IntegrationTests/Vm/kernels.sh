#!/usr/bin/env bash
# Fetches Debian's kernels for the virtual machines, beside the machine's own apt configuration, and keeps them outside the tree.
#   kernels.sh list          their names, one a line
#   kernels.sh fetch NAME    makes sure that it is here; prints its folder
# KUBESKOOP_KERNELS: where they are kept (default: kubeskoop-probes/kernels in the user's cache).
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
	local name=$1 arch archive suite folder=$cache/$1 apt uri prefix image version packages
	if [[ -e $folder/complete ]]; then
		printf '%s\n' "$folder"
		return
	fi
	read -r _ arch archive suite < <(awk -v name="$name" '$1 == name' <<<"$table") || {
		say "No kernel is called '$name'. Their names: $(awk 'NF { printf "%s ", $1 }' <<<"$table")"
		return 2
	}
	uri=$(archive_of "$archive")
	mkdir -p "$cache"
	apt=$(mktemp -d)
	# shellcheck disable=SC2064
	trap "rm -rf '$apt'" RETURN
	mkdir -p "$apt"/{lists,cache/archives}/partial "$apt/packages"
	[[ $EUID -ne 0 ]] || chmod 755 "$apt" "$apt/packages"
	echo "deb [arch=$arch] $uri $suite main" >"$apt/sources.list"
	local options=(-qq -o "Dir::State::Lists=$apt/lists" -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::Cache=$apt/cache"
		-o "APT::Architecture=$arch" -o "APT::Architectures::=$arch" -o APT::Sandbox::User=root)
	say "Fetching Linux $name ..."
	apt-get "${options[@]}" update >&2
	if [[ $name == newest ]]; then
		image=$(apt-cache "${options[@]}" show "linux-image-cloud-$arch" | sed -n 's/^Depends:.*\(linux-image-[0-9][^ ,]*\).*/\1/p' | sort -V | tail -1)
	else
		prefix=linux-image-${name%-*}
		image=$(apt-cache "${options[@]}" pkgnames "$prefix." | grep -E -- "^${prefix//./\\.}\.[^ ]*[0-9]-cloud-$arch$|^${prefix//./\\.}\.[^ ]*deb[0-9]+-cloud-$arch$" | sort -V | tail -1)
	fi
	[[ -n $image ]] || { say "The archive has no kernel $name for $arch any more."; return 1; }
	version=${image#linux-image-}
	packages=("$image")
	# From 7.2 on the image is an empty package that needs two others.
	if [[ -n $(apt-cache "${options[@]}" pkgnames "linux-modules-$version") ]]; then packages=("linux-binary-$version" "linux-modules-$version"); fi
	(cd "$apt/packages" && apt-get "${options[@]}" download "${packages[@]}") >&2
	rm -rf "$folder"
	mkdir -p "$folder/root"
	for deb in "$apt"/packages/*.deb; do dpkg -x "$deb" "$folder/root"; done
	[[ -n $(find "$folder/root" -name 'vmlinuz*' -print -quit) ]] || { say "The packages ${packages[*]} hold no kernel."; return 1; }
	# Of another architecture this machine has no programs to copy from.
	if [[ $arch != "$(dpkg --print-architecture)" ]]; then
		rm -f "$apt"/packages/*.deb
		(cd "$apt/packages" && apt-get "${options[@]}" download busybox-static libc6 libgcc-s1 libstdc++6 dash) >&2
		for deb in "$apt"/packages/*.deb; do dpkg -x "$deb" "$folder/base"; done
	fi
	printf '%s\n' "$version" >"$folder/complete"
	printf '%s\n' "$folder"
}

case ${1:-} in
list) awk 'NF { print $1 }' <<<"$table" ;;
fetch) fetch "${2:?a kernel\'s name}" ;;
*)
	sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
	exit 2
	;;
esac
