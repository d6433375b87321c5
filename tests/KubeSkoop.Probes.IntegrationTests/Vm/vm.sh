#!/usr/bin/env bash
# Runs a command as root in a virtual machine of its own with another kernel, under software emulation.
#   vm.sh --kernel FOLDER [--arch amd64|arm64] [--memory MiB] [--limit SECONDS] [--program FILE]... [--libraries-of FILE]... [--add PATH:FOLDER]... [--qemu ARGUMENTS]
#         [--append ARGUMENTS] [--out FOLDER] [--kernel-log FILE] -- COMMAND...
#   --kernel   what kernels.sh made
#   --program  a program of this machine, copied into the path with the libraries it is linked to
#   --libraries-of  copies only those a file of this machine is linked to
#   --add      a file or folder of this machine, copied into a folder of the guest
#   --qemu     more arguments of QEMU, for more devices
#   --append   more arguments of the kernel
#   --out      a folder that gets what the command left in /out (64 MiB at most)
#   --kernel-log  a file that gets what the kernel said since the command began; not when the machine died
# The command's output is this script's, and so is its exit status; 124: it took too long; 125: the machine died.
# The guest: an initramfs (busybox, the modules that reach a disk), then an ext4 root made without mounting it.
set -euo pipefail

kernel= arch=amd64 memory=1536 limit=300 qemu= append= out= log= programs=() linked=() adds=()
while [[ $# -gt 0 ]]; do
	case $1 in
	--kernel) kernel=$2 ;; --arch) arch=$2 ;; --memory) memory=$2 ;; --limit) limit=$2 ;; --qemu) qemu=$2 ;; --append) append=$2 ;;
	--out) out=$2 ;; --kernel-log) log=$2 ;; --program) programs+=("$2") ;; --libraries-of) linked+=("$2") ;; --add) adds+=("$2") ;;
	--) shift; break ;;
	*) sed -n '2,14s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
	esac
	shift 2
done
[[ -n $kernel && $# -gt 0 ]] || { sed -n '2,14s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Modules, unpacked once a kernel: it takes longer than anything else. Only what tests may need: the whole tree is over 100 MiB.
modules=$(find "$kernel/root" -type d -path '*lib/modules/*' -prune | head -1)
version=$(basename "$modules")
image=$(find "$kernel/root" -type f -name 'vmlinuz*' | head -1)
plain=$kernel/plain
exec 9>"$kernel/lock"
flock 9
if [[ ! -e $plain ]]; then
	fresh=$kernel/plain.new
	rm -rf "$fresh"
	mkdir -p "$fresh/lib/modules"
	cp -r "$modules" "$fresh/lib/modules/"
	(cd "$fresh/lib/modules/$version/kernel" && rm -rf drivers/{gpu,infiniband,media,net/ethernet,net/wireless,usb,iio,hid} sound fs/{xfs,btrfs,ocfs2,nfs,nfsd,cifs,smb,ceph,gfs2,f2fs,jfs})
	find "$fresh" -name '*.ko.xz' -print0 | xargs -0 -r -n 64 -P "$(nproc)" xz -d
	find "$fresh" -name '*.ko.zst' -print0 | xargs -0 -r -n 64 -P "$(nproc)" zstd -q -d --rm
	depmod -b "$fresh" "$version"
	mv "$fresh" "$plain"
fi
exec 9>&-

# The root.
root=$work/root
mkdir -p "$root"/{bin,sbin,etc,proc,sys,dev,run,tmp,root,out,mnt,var,lib64,usr/bin,usr/sbin,usr/lib/modules}
ln -s usr/lib "$root/lib"
busybox=$(command -v busybox)
if [[ -d $kernel/base ]]; then
	busybox=$(find "$kernel/base" -type f -path '*bin/busybox' | head -1)
	cp -r "$kernel/base/usr/lib/." "$root/usr/lib/"
	for folder in lib bin; do [[ ! -d $kernel/base/$folder || -L $kernel/base/$folder ]] || cp -r "$kernel/base/$folder/." "$root/usr/$folder/"; done
	cp "$(find "$kernel/base" -type f -path '*bin/dash' | head -1)" "$root/bin/sh"
fi
cp "$busybox" "$root/bin/busybox"
cp -r "$plain/lib/modules/$version" "$root/lib/modules/"
libraries() {
	{ ldd "$@" 2>/dev/null || true; } | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// && $1 !~ /:$/ { print $1 }' | sort -u | while read -r library; do
		mkdir -p "$root$(dirname "$library")"
		cp -nL "$library" "$root$library"
	done
}
if [[ $arch == amd64 ]]; then
	# busybox's shell prefers its own ip and tc to those on the path.
	cp -L /bin/dash "$root/bin/sh"
	programs+=(/bin/dash)
fi
for program in "${programs[@]}"; do
	path=$(PATH=$PATH:/usr/sbin:/sbin command -v "$program") || { echo "vm.sh: there is no program $program here" >&2; exit 2; }
	[[ $program == /bin/dash ]] || cp -L "$path" "$root/usr/bin/"
	libraries "$path"
done
[[ ${#linked[@]} -eq 0 ]] || libraries "${linked[@]}"
for add in "${adds[@]}"; do
	mkdir -p "$root/${add##*:}"
	cp -r "${add%:*}" "$root/${add##*:}/"
done
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
echo 'nobody:x:65534:65534:nobody:/:/bin/sh' >>"$root/etc/passwd"
echo 'root:x:0:' >"$root/etc/group"
echo '127.0.0.1 localhost' >"$root/etc/hosts"
printf '%s\n' "$*" >"$root/command.sh"
case $arch in amd64) status=ttyS1 ;; *) status=hvc0 ;; esac
cat >"$root/run.sh" <<RUN
#!/bin/busybox sh
/bin/busybox --install -s /bin
ln -s /bin/busybox /sbin/modprobe # which the kernel calls
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/shm /run/netns; mount -t tmpfs shm /dev/shm; mount -t tmpfs tmp /tmp; mount -t tmpfs run /run
mount -t debugfs d /sys/kernel/debug; mount -t tracefs t /sys/kernel/tracing 2>/dev/null
mount -t bpf bpf /sys/fs/bpf; mount -t cgroup2 cg /sys/fs/cgroup 2>/dev/null
echo +io >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null
for module in virtio_net ip_vs veth tun loop nf_conntrack nf_tables nft_ct sch_tbf sch_htb; do modprobe \$module 2>/dev/null; done
ip link set lo up
dmesg -c >/dev/null
/bin/sh /command.sh
code=\$?
dmesg >/kernel.log
tar c -C / kernel.log out >/dev/vdb 2>/dev/null
sync
echo \$code >/dev/$status
poweroff -f
RUN
chmod +x "$root/run.sh"
size=$(($(du -sm "$root" | cut -f1) * 5 / 4 + 192))
mke2fs -q -t ext4 -O ^has_journal -d "$root" "$work/root.img" "${size}M" >/dev/null
truncate -s 64M "$work/out.img"
rm -rf "$root"

# The initramfs.
first=$work/first
mkdir -p "$first"/{bin,proc,sys,dev,newroot,modules}
cp "$busybox" "$first/bin/"
needed=(virtio_pci virtio_blk ext4)
[[ $arch == amd64 ]] || needed+=(virtio_console)
{
	echo '#!/bin/busybox sh'
	echo '/bin/busybox mount -t proc proc /proc; /bin/busybox mount -t devtmpfs dev /dev'
	for module in "${needed[@]}"; do modprobe -d "$plain" -S "$version" --show-depends "$module" 2>/dev/null || true; done |
		awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r file; do
		cp "$file" "$first/modules/"
		echo "/bin/busybox insmod /modules/$(basename "$file")"
	done
	echo 'until /bin/busybox mount -t ext4 /dev/vda /newroot 2>/dev/null; do /bin/busybox usleep 20000; done'
	echo '/bin/busybox mount --move /dev /newroot/dev; exec /bin/busybox switch_root /newroot /run.sh'
} >"$first/init"
chmod +x "$first/init"
(cd "$first" && find . | cpio -o -H newc --quiet) >"$work/first.cpio"

# QEMU 7.2 loses the flags of cmpxchg16b under emulation, and kernels whose allocator uses it die within seconds: the kernel must not see it.
# Without it newer kernels (seen with 7.3) make no storage of sockets and tasks for BPF programs, unless their caches are checked ones.
# Without fast strings, which the kernel would copy byte by byte: nothing is dearer to emulate.
case $arch in
amd64)
	machine=(qemu-system-x86_64 -cpu max,-erms,-fsrm) console=ttyS0 append="clearcpuid=141 slab_debug=F,kmalloc-* $append"
	report=(-serial "file:$work/status")
	;;
arm64)
	machine=(qemu-system-aarch64 -M virt -cpu cortex-a72) console=ttyAMA0
	report=(-device virtio-serial-pci -chardev "file,id=status,path=$work/status" -device "virtconsole,chardev=status")
	;;
esac
code=0
# Both processors in one thread, in turns: with a thread each, one now and then executes a breakpoint (int3) that the other has already taken out
# of the kernel's code again, which no processor does and no kernel survives. It takes 6 % longer, and a processor of this machine less.
# shellcheck disable=SC2086
timeout --foreground -k 5 "$limit" "${machine[@]}" -accel tcg,thread=single -smp 2 -m "$memory" -display none -no-reboot -nodefaults -serial stdio "${report[@]}" \
	-kernel "$image" -initrd "$work/first.cpio" -append "console=$console quiet loglevel=1 log_buf_len=4M panic=-1 rdinit=/init mitigations=off $append" \
	-drive "file=$work/root.img,if=none,id=root,format=raw,cache=unsafe" -device virtio-blk-pci,drive=root \
	-drive "file=$work/out.img,if=none,id=out,format=raw,cache=unsafe" -device virtio-blk-pci,drive=out \
	-netdev user,id=net,restrict=on -device virtio-net-pci,netdev=net -device virtio-rng-pci $qemu </dev/null | sed -u 's/\r//g' || code=$?
[[ $code -eq 0 ]] || { echo "vm.sh: the machine ended with $code (124: after $limit seconds)" >&2; exit "$code"; }
whole=true
tar x -C "$work" -f "$work/out.img" 2>/dev/null || whole=false
[[ -z $log ]] || cp "$work/kernel.log" "$log" || true
if [[ -n $out ]]; then
	$whole || { echo 'vm.sh: what the command left did not come over whole' >&2; exit 125; }
	mkdir -p "$out"
	cp -r "$work/out/." "$out/"
fi
result=$(tr -cd 0-9 <"$work/status")
[[ -n $result ]] || { echo 'vm.sh: the machine gave no exit status' >&2; exit 125; }
exit "$result"
