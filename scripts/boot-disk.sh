#!/usr/bin/env bash
# Builds a small disk that boots, for the tests of images: the kernel of Debian's
# cloud images, busybox, and a getty on the serial console.
#
#   scripts/boot-disk.sh bios|uefi|bios-grub|uefi-btrfs|bios-agent FILE
#
# bios is a DOS table, ext4 and extlinux; uefi is a GPT, a FAT system partition with
# systemd-boot, and ext4. bios-grub has GRUB instead; uefi-btrfs has a Btrfs with the
# subvolumes @ and @home; bios-agent runs QEMU's guest agent, is mounted for writing, and
# lets nobody log in. They are 64 MiB, with Btrfs 192 MiB. Needs root (boot loaders
# want their file system mounted). Packages come by apt and are kept below build/.
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

usage() {
	echo "usage: $0 bios|uefi|bios-grub|uefi-btrfs|bios-agent FILE" >&2
	exit 2
}
[ $# = 2 ] || usage
kind=$1
case $kind in bios | uefi | bios-grub | uefi-btrfs | bios-agent) ;; *) usage ;; esac
out=$(realpath -m "$2")
here=$(cd "$(dirname "$0")/.." && pwd -P)
cache=${SAOLUU_BOOT_CACHE:-$here/build/boot}

# fetch PACKAGE puts the files of a package into $cache/PACKAGE.
fetch() {
	[ -e "$cache/$1" ] && return
	local dir
	dir=$(mktemp -d "$cache/.new.XXXXXX")
	(cd "$dir" && apt-get -q -o APT::Sandbox::User=root download "$1" >/dev/null && dpkg-deb -x ./*.deb files)
	mv -T "$dir/files" "$cache/$1" 2>/dev/null || [ -e "$cache/$1" ] # somebody else was faster
	rm -rf "$dir"
}

mkdir -p "$cache"
if [ ! -e "$cache/kernel" ]; then
	kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-.*\)/\1/p' | head -1)
	fetch "$kernel"
	ln -sfn "$kernel" "$cache/kernel"
fi
case $kind in uefi*) fetch systemd-boot-efi ;; bios-agent) fetch qemu-guest-agent ;; esac

work=$(mktemp -d)
mounted=
loop=
finish() {
	[ -z "$mounted" ] || umount "$work/mnt"
	[ -z "$loop" ] || losetup -d "$loop"
	rm -rf "$work"
}
trap finish EXIT

# The initramfs loads what reaches the disk and goes on in its second or first partition.
ram=$work/ram
mkdir -p "$ram"/{bin,dev,proc,sys,mnt,m}
cp "$(command -v busybox)" "$ram/bin/busybox"
ln -s busybox "$ram/bin/sh"
modules=$(cd "$cache"/kernel/lib/modules/*/kernel && pwd)
load='virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk'
options=ro
if [ "$kind" = uefi-btrfs ]; then
	load="$load crc32c_generic libcrc32c xor raid6_pq zstd_compress btrfs"
	options="ro,subvol=@ -t btrfs"
fi
for m in $load; do
	find "$modules" -name "${m//_/[-_]}.ko" -exec cp {} "$ram/m/$m.ko" \;
done
root=/dev/vda1
case $kind in uefi*) root=/dev/vda2 ;; esac
cat >"$ram/init" <<INIT
#!/bin/sh
b=/bin/busybox
\$b mount -t proc proc /proc; \$b mount -t sysfs sysfs /sys; \$b mount -t devtmpfs dev /dev
for m in $load; do [ ! -e /m/\$m.ko ] || \$b insmod /m/\$m.ko; done
until [ -b $root ]; do \$b sleep 0.1; done
\$b mount -o $options $root /mnt
\$b mount --move /dev /mnt/dev
exec \$b switch_root /mnt /sbin/init
INIT
chmod 755 "$ram/init"
(cd "$ram" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initrd"

# The system itself.
sys=$work/sys
mkdir -p "$sys"/{bin,sbin,dev,proc,sys,tmp,etc,boot,root}
cp "$(command -v busybox)" "$sys/bin/busybox"
for name in sh mount echo cat getty login uname; do ln -s busybox "$sys/bin/$name"; done
ln -s ../bin/busybox "$sys/sbin/init"
cat >"$sys/etc/inittab" <<'TAB'
::sysinit:/etc/rc
ttyS0::respawn:/bin/getty -L ttyS0 115200 vt100
TAB
cat >"$sys/etc/rc" <<'RC'
#!/bin/sh
mount -t proc proc /proc
for t in ttyS0 tty1; do echo "BOOT-OK $(cat /etc/hostname)" >/dev/$t; done
RC
chmod 755 "$sys/etc/rc"
echo may-thu >"$sys/etc/hostname"
printf 'ID=saoluu-test\nVERSION_ID=1\nPRETTY_NAME="Saoluu test system 1"\n' >"$sys/etc/os-release"
echo 'root::0:0:root:/root:/bin/sh' >"$sys/etc/passwd"
if [ "$kind" = bios-agent ]; then
	cp "$cache/qemu-guest-agent/usr/sbin/qemu-ga" "$sys/bin/"
	# Its libraries are those of this machine, where QEMU needs them too.
	ldd "$sys/bin/qemu-ga" | sed -n 's,^[^/]*\(/[^ ]*\) (0x.*,\1,p' | while read -r lib; do
		mkdir -p "$sys${lib%/*}"
		cp -L "$lib" "$sys$lib"
	done
	find "$modules" -name virtio_console.ko -exec cp {} "$sys/bin/" \;
	sed -i 's,root::,root:*:,' "$sys/etc/passwd"
	cat >>"$sys/etc/rc" <<'RC'
mount -o remount,rw /
# The agent notes there that file systems are frozen, which must not be saved with them.
mount -t tmpfs tmp /tmp
busybox insmod /bin/virtio_console.ko
until [ -e /dev/vport*p1 ]; do busybox sleep 0.1; done
/bin/qemu-ga -m virtio-serial -p /dev/vport*p1 -t /tmp -f /tmp/qga.pid >/dev/null 2>&1 &
RC
	kind=bios
fi
uuid=6d617974-6875-4000-8000-000000000001
if [ "$kind" = uefi-btrfs ]; then
	uuid=$(cat /proc/sys/kernel/random/uuid) # mkfs.btrfs makes none that another disk of the machine has
fi
echo "UUID=$uuid / ext4 ro 0 1" >"$sys/etc/fstab"
console='console=tty0 console=ttyS0,115200 quiet'

# fill_esp puts the system partition of 34 MiB at the first megabyte; $1 are more options
# of the kernel.
fill_esp() {
	mkdir -p "$work/esp/EFI/BOOT" "$work/esp/loader/entries"
	cp "$cache/systemd-boot-efi/usr/lib/systemd/boot/efi/systemd-bootx64.efi" "$work/esp/EFI/BOOT/BOOTX64.EFI"
	cp "$cache"/kernel/boot/vmlinuz-* "$work/esp/vmlinuz"
	cp "$work/initrd" "$work/esp/initrd"
	printf 'timeout 0\ndefault linux\n' >"$work/esp/loader/loader.conf"
	printf 'title linux\nlinux /vmlinuz\ninitrd /initrd\noptions %s\n' "$console$1" >"$work/esp/loader/entries/linux.conf"
	truncate -s 34M "$work/esp.img"
	mkfs.fat -F 32 -n ESP -i 5e1a0001 "$work/esp.img" >/dev/null
	mcopy -s -i "$work/esp.img" "$work"/esp/* ::/
	dd if="$work/esp.img" of="$out" bs=1M seek=1 conv=notrunc,sparse status=none
}

rm -f "$out"
truncate -s 64M "$out"
case $kind in
bios)
	printf 'SERIAL 0 115200\nDEFAULT linux\nLABEL linux\n KERNEL /boot/vmlinuz\n INITRD /boot/initrd\n APPEND %s\n' "$console" >"$sys/boot/extlinux.conf"
	printf 'label: dos\nstart=2048, type=83, bootable\n' | sfdisk -q "$out"
	dd if=/usr/lib/EXTLINUX/mbr.bin of="$out" bs=440 count=1 conv=notrunc status=none
	mkfs.ext4 -q -U $uuid -O '^64bit,^metadata_csum' -E offset=1048576 -d "$sys" "$out" 63M
	mkdir "$work/mnt"
	mount -o loop,offset=1048576 "$out" "$work/mnt"
	mounted=yes
	# Not by mkfs.ext4: it leaves holes in files, which extlinux cannot read.
	cp --sparse=never "$cache"/kernel/boot/vmlinuz-* "$work/mnt/boot/vmlinuz"
	cp --sparse=never "$work/initrd" "$work/mnt/boot/initrd"
	extlinux --install "$work/mnt/boot" >/dev/null 2>&1
	umount "$work/mnt"
	mounted=
	;;
uefi)
	printf 'label: gpt\nstart=2048, size=69632, type=U, name=esp\nstart=71680, type=L, name=root\n' | sfdisk -q "$out"
	fill_esp ''
	mkfs.ext4 -q -U $uuid -E offset=$((71680 * 512)) -d "$sys" "$out" 28M
	;;
bios-grub)
	cat >"$sys/boot/grub.cfg" <<CFG
serial --unit=0 --speed=115200
terminal_output serial console
set timeout=0
search --no-floppy --fs-uuid --set=root $uuid
menuentry linux {
 if ! linux /boot/vmlinuz root=UUID=$uuid ro $console; then reboot; fi
 initrd /boot/initrd
}
CFG
	mkdir "$sys/boot/grub"
	mv "$sys/boot/grub.cfg" "$sys/boot/grub/grub.cfg"
	cp "$cache"/kernel/boot/vmlinuz-* "$sys/boot/vmlinuz"
	cp "$work/initrd" "$sys/boot/initrd"
	printf 'label: dos\nlabel-id: 0x5a0107aa\nstart=2048, type=83, bootable\n' | sfdisk -q "$out"
	mkfs.ext4 -q -U $uuid -L may-thu -E offset=1048576 -d "$sys" "$out" 63M
	# As grub-install would, which must ask the kernel for partitions that not every kernel
	# reads: boot.img into the first sector, the core image behind it, whose first sector
	# says where the rest is (GRUB, include/grub/i386/pc/boot.h).
	grub-mkimage -O i386-pc -o "$work/core" -p '(hd0,msdos1)/boot/grub' biosdisk part_msdos ext2 normal linux search search_fs_uuid serial terminal configfile reboot
	dd if=/usr/lib/grub/i386-pc/boot.img of="$out" bs=440 count=1 conv=notrunc status=none
	printf '\002\0\0\0\0\0\0\0' | dd of="$work/core" bs=1 seek=500 conv=notrunc status=none
	dd if="$work/core" of="$out" bs=512 seek=1 conv=notrunc status=none
	;;
uefi-btrfs)
	truncate -s 192M "$out"
	printf 'label: gpt\nlabel-id: 5A0107AA-0000-4000-8000-000000000001\nstart=2048, size=69632, type=U, name=esp\nstart=71680, size=319488, type=L, name=root, uuid=5A0107AA-0000-4000-8000-000000000002\n' | sfdisk -q "$out"
	fill_esp ' rootflags=subvol=@'
	loop=$(losetup --find --show --offset $((71680 * 512)) --sizelimit $((319488 * 512)) "$out")
	mkfs.btrfs -q -U $uuid -L may-thu "$loop" >/dev/null 2>&1
	mkdir "$work/mnt"
	mount "$loop" "$work/mnt"
	mounted=yes
	btrfs -q subvolume create "$work/mnt/@"
	btrfs -q subvolume create "$work/mnt/@home"
	printf '%s\n' "UUID=$uuid / btrfs ro,subvol=@ 0 0" "UUID=$uuid /home btrfs defaults,subvol=@home 0 0" 'UUID=5E1A-0001 /boot/efi vfat umask=0077 0 1' >"$sys/etc/fstab"
	mkdir "$sys/home" "$sys/boot/efi"
	cp -a "$sys/." "$work/mnt/@/"
	echo 'ngày hai' >"$work/mnt/@home/ghi-chu"
	;;
esac
