# Sourced by run.sh and test.sh: what the machine must have, installed where that is possible, else named.

say() { printf '%s\n' "$*" >&2; }

# Installs Debian packages; fails quietly, so that the caller can say what it means.
apt_install() {
	[[ $EUID -eq 0 ]] && command -v apt-get >/dev/null || return 1
	local log
	log=$(mktemp)
	say "Installing $* ..."
	if DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >"$log" 2>&1 </dev/null ||
		{ apt-get update -qq >>"$log" 2>&1 </dev/null &&
			DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >>"$log" 2>&1 </dev/null; }; then
		rm -f "$log"
		return 0
	fi
	say "apt-get could not install $*: $(grep -m1 '^E:' "$log" || tail -n1 "$log")"
	rm -f "$log"
	return 1
}

# Installs what is missing of `command:package` pairs. Prints the commands that are still missing, one a line.
need_tools() {
	local pair missing=() packages=()
	for pair in "$@"; do
		PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%:*}" >/dev/null || packages+=("${pair#*:}")
	done
	[[ ${#packages[@]} -eq 0 ]] && return
	mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
	apt_install "${packages[@]}" || true
	for pair in "$@"; do
		PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%:*}" >/dev/null || missing+=("'${pair%%:*}' (Debian package ${pair#*:})")
	done
	[[ ${#missing[@]} -eq 0 ]] || printf '%s\n' "${missing[@]}"
}

# What compiling bpf/ and linking libbpf need. Installs it; says what is still missing, and then fails.
need_bpf_tools() {
	local pair missing=() packages=()
	mapfile -t missing < <(need_tools clang:clang llvm-strip:llvm llvm-objcopy:llvm)
	for pair in /usr/include/bpf/bpf_helpers.h:libbpf-dev /usr/include/libelf.h:libelf-dev /usr/include/zlib.h:zlib1g-dev; do
		[[ -e ${pair%%:*} ]] || packages+=("${pair#*:}")
	done
	if [[ ${#packages[@]} -gt 0 ]] && ! apt_install "${packages[@]}"; then missing+=("${packages[@]/#/Debian package }"); fi
	[[ ${#missing[@]} -eq 0 ]] && return
	for pair in "${missing[@]}"; do say "Missing: $pair. The BPF programs cannot be built without it."; done
	return 1
}

# What makes containers, beside containerd itself.
need_container_tools() {
	[[ -z $(need_tools runc:runc busybox:busybox-static) ]] || return 1
	[[ -x /usr/lib/cni/bridge ]] || apt_install containernetworking-plugins
}

# Unpacks a program of a Debian package beside the build: for packages that would start a service when installed.
# Prints the program's path.
unpack_tool() {
	local program=$1 package=$2 directory=$root/artifacts/tools/$2 found
	if found=$(command -v "$program"); then
		printf '%s\n' "$found"
		return
	fi
	found=$directory/usr/bin/$program
	if [[ ! -x $found ]]; then
		command -v apt-get >/dev/null && command -v dpkg >/dev/null || return 1
		say "Fetching $program of Debian's package $package ..."
		mkdir -p "$directory"
		(
			cd "$directory"
			rm -f "$package"_*.deb
			apt-get download -qq "$package" || { apt-get update -qq && apt-get download -qq "$package"; }
			dpkg -x "$package"_*.deb . && rm -f "$package"_*.deb
		) >/dev/null 2>&1 </dev/null || return 1
	fi
	[[ -x $found ]] && printf '%s\n' "$found"
}

# Whether an SDK that global.json accepts can be run. Looks where its installer script puts it, too.
find_sdk() {
	local directory
	for directory in "${DOTNET_ROOT:-}" "$HOME/.dotnet" /usr/share/dotnet /usr/lib/dotnet; do
		command -v dotnet >/dev/null && break
		[[ -n $directory && -x $directory/dotnet ]] && PATH="$directory:$PATH" && export DOTNET_ROOT=$directory
	done
	command -v dotnet >/dev/null && dotnet --version >/dev/null 2>&1
}

# Finds or installs the SDK; else says how to get it and fails.
need_sdk() {
	export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1
	find_sdk && return 0
	if [[ $EUID -eq 0 ]] && command -v apt-cache >/dev/null && [[ -n $(apt-cache search --names-only '^dotnet-sdk-10\.0$' 2>/dev/null) ]]; then
		apt_install dotnet-sdk-10.0 && find_sdk && return 0
	fi
	say "The .NET SDK 10.0 is missing (global.json says which), and apt here has no package 'dotnet-sdk-10.0' that can be installed."
	say "How to get it on Debian: https://learn.microsoft.com/dotnet/core/install/linux-debian"
	say "Without root: the dotnet-install.sh script shown there puts it below ~/.dotnet, where it is found."
	return 1
}
