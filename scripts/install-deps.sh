#!/usr/bin/env bash
# Installs, by apt and only when missing, the programs the tests run.
#
#   scripts/install-deps.sh [--check]
#
# With everything in place it does nothing and needs no rights; otherwise it
# needs root or sudo, and says which packages are missing when it has neither.
# --check only reports. PostgreSQL comes without the cluster Debian would make
# and start: the tests make their own, on sockets, and stop them. Web servers that
# come with it are neither started nor enabled: the tests want their parsers alone.
set -euo pipefail

say() { printf 'deps: %s\n' "$*" >&2; }
die() {
	printf 'deps: error: %s\n' "$1" >&2
	printf 'deps: hint: %s\n' "$2" >&2
	exit 1
}

# Each line: the program that must be there, the Debian package that brings it,
# and what uses it. A program may be a path with a wildcard.
readonly needs="
git                                 git              version stamp, tests
/usr/lib/postgresql/*/bin/initdb    postgresql       throwaway PostgreSQL servers
/usr/lib/postgresql/*/bin/pgbench   postgresql-contrib  demo and bench data
mariadbd                            mariadb-server-core  throwaway MariaDB servers; this package starts no service
mariadb-dump                        mariadb-client   dumps of MariaDB
mariabackup                         mariadb-backup   files of whole MariaDB servers
redis-check-rdb                     redis-tools      throwaway Redis servers: it is the same program; this package starts no service
sqlite3                             sqlite3          a second opinion on SQLite files
losetup                             util-linux       measuring separation on real block devices
setpriv                             util-linux       running servers as somebody without rights
mount                               mount            real file systems as targets
mkfs.ext4                           e2fsprogs        real file systems as targets, and in images
sfdisk                              fdisk            partition tables of images
qemu-img                            qemu-utils       images in the form of QEMU
partclone.xfs                       partclone        free space in images
xfs_logprint                        xfsprogs         XFS in images
btrfs                               btrfs-progs      Btrfs in images
ntfsinfo                            ntfs-3g          NTFS in images
lvcreate                            lvm2             volumes in images; none is made active
grub-fstest                         grub-common      reading files of images without mounting them
qemu-system-x86_64                  qemu-system-x86  booting restored images
libvirtd                            libvirt-daemon   a throwaway libvirt; on Debian this package enables no service
/usr/lib/*/libvirt/connection-driver/libvirt_driver_qemu.so  libvirt-daemon-driver-qemu  machines of that libvirt
virsh                               libvirt-clients  the same
/usr/share/OVMF/OVMF_CODE*.fd       ovmf             the firmware of machines that boot by UEFI
extlinux                            extlinux         building disks that boot
/usr/lib/EXTLINUX/mbr.bin           syslinux-common  building disks that boot
grub-mkimage                        grub-common      building disks that boot
/usr/lib/grub/i386-pc/boot.img      grub-pc-bin      building disks that boot; it touches no disk of this machine
busybox                             busybox-static   what runs on them
cpio                                cpio             building disks that boot
mkfs.fat                            dosfstools       system partitions of disks that boot, and checking them
mcopy                               mtools           system partitions of disks that boot
/usr/sbin/sshd                      openssh-server   an SFTP server for targets
ssh-keygen                          openssh-client   verifying evidence the way a stranger would
nginx                               nginx            reading restored configurations; never started, nor enabled, by these scripts
apachectl                           apache2          the same
named-checkconf                     bind9-utils      the same; this package starts no service
nft                                 nftables         the same; this package starts no service
visudo                              sudo             the same
unzip                               unzip            opening evidence bundles the way a stranger would
age                                 age              opening archives the way a stranger would
zstd                                zstd             opening archives the way a stranger would
ps                                  procps           no process may be left behind
systemd-analyze                     systemd          checking the unit file
chromium                            chromium         printing and photographing the report
/usr/share/fonts/truetype/croscore/Tinos-Regular.ttf  fonts-croscore  Vietnamese letters on the report's picture
"

present() {
	case $1 in
	/*) compgen -G "$1" >/dev/null ;;
	*) PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null ;;
	esac
}

missing=()
while read -r program package _; do
	[ -n "$program" ] || continue
	present "$program" && continue
	case " ${missing[*]-} " in *" $package "*) ;; *) missing+=("$package") ;; esac
done <<<"$needs"

if [ ${#missing[@]} -eq 0 ]; then
	exit 0
fi
if [ "${1:-}" = --check ]; then
	die "missing packages: ${missing[*]}" "run \"make deps\" as root or with sudo"
fi

as_root=()
if [ "$(id -u)" != 0 ]; then
	if ! sudo -n true 2>/dev/null; then
		die "missing packages: ${missing[*]}; neither root nor a sudo without password here" \
			"have an administrator run: apt-get install --no-install-recommends ${missing[*]}"
	fi
	as_root=(sudo -n)
fi
command -v apt-get >/dev/null ||
	die "missing packages: ${missing[*]}; no apt-get here" "install the programs by hand; scripts/install-deps.sh names them"

install_packages() {
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
		-o Dpkg::Options::=--force-confold -o DPkg::Lock::Timeout=300 \
		install --no-install-recommends "$@" >"$log" 2>&1 || {
		tail -n 20 "$log" >&2
		die "apt-get could not install: $*" "read the lines above; \"apt-get update\" was tried before"
	}
}

log=$(mktemp)
readonly cluster_conf=/etc/postgresql-common/createcluster.conf
readonly policy=/usr/sbin/policy-rc.d
restore=
forbidden=
finish() {
	rm -f "$log"
	if [ -n "$forbidden" ]; then
		"${as_root[@]}" rm -f "$policy"
	fi
	if [ -n "$restore" ]; then
		"${as_root[@]}" mv -f "$restore" "$cluster_conf"
	fi
}
trap finish EXIT

say "installing ${missing[*]}"
"${as_root[@]}" apt-get -q -o DPkg::Lock::Timeout=300 update >"$log" 2>&1 || say "apt-get update did not succeed; trying with the lists at hand"

case " ${missing[*]} " in
*" postgresql "*)
	# postgresql-common first: it alone makes no cluster, and with the setting in
	# place the server package does not make one either. The setting is put back,
	# so a PostgreSQL installed by the administrator later behaves as usual.
	install_packages postgresql-common
	"${as_root[@]}" cp -p "$cluster_conf" "$cluster_conf.before-saoluu-tests"
	restore=$cluster_conf.before-saoluu-tests
	echo 'create_main_cluster = false' | "${as_root[@]}" tee -a "$cluster_conf" >/dev/null
	;;
esac

quiet=()
for service in nginx apache2 apache-htcacheclean; do
	case " ${missing[*]} " in
	*" ${service/apache-htcacheclean/apache2} "*) quiet+=("$service") ;;
	esac
done
if [ ${#quiet[@]} -gt 0 ] && [ ! -e "$policy" ]; then
	# What invoke-rc.d asks before it starts anything; taken away afterwards.
	printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
	"${as_root[@]}" chmod 755 "$policy"
	forbidden=$policy
fi
install_packages "${missing[@]}"
for service in "${quiet[@]}"; do
	"${as_root[@]}" update-rc.d "$service" disable >"$log" 2>&1 ||
		say "$service is installed and not running; it may start with this machine: systemctl disable $service"
done

while read -r program package _; do
	[ -n "$program" ] || continue
	present "$program" || die "package $package is installed, $program is still missing" "install $program by hand"
done <<<"$needs"
say "done"
