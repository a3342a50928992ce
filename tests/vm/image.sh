#!/bin/sh
# Builds the root file system of the test guest: Debian 12 with its own kernel and the peers, and nothing that starts.
#   tests/vm/image.sh DIRECTORY
# leaves `vmlinuz`, `initrd` and `root.ext4` there. What stands there already is kept as long as this file is the same.
# Needs root, debootstrap, mkfs.ext4 and a Debian mirror; takes a minute or two.
set -eu

[ $# = 1 ] || {
	sed -n '2,5s/^# *//p' "$0" >&2
	exit 2
}
directory=$1
recipe=$(sha256sum <"$0" | cut -c1-64)
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

[ "$(cat "$directory/recipe" 2>/dev/null)" = "$recipe" ] && exit 0

kernel="linux-image-cloud-amd64 initramfs-tools lz4 kmod"
tools="python3 iproute2 iputils-ping ethtool tcpdump procps"
peers="charon-systemd strongswan-swanctl libstrongswan-standard-plugins libstrongswan-extra-plugins
  libcharon-extra-plugins openiked openssl"
# What Libreswan needs; its own package is only unpacked, because Debian lets no two key daemons be installed.
libreswan="libnss3-tools libunbound8 libldns3 libcurl3-nss libevent-core-2.1-7 libevent-pthreads-2.1-7 libldap-2.5-0
  libcap-ng0 libaudit1 libpam0g libselinux1 dns-root-data libsystemd0"

mkdir -p "$directory"
rm -f "$directory/recipe"
root=$(mktemp -d "$directory/root.XXXXXX")
trap 'umount "$root/proc" "$root/sys" 2>/dev/null || true; rm -rf --one-file-system "$root"' EXIT
trap 'exit 1' HUP INT TERM

echo "Building the guest's root file system in $directory"
# shellcheck disable=SC2086 # lists of words
debootstrap --variant=minbase --include="$(echo $kernel $tools $peers $libreswan | tr ' ' ',')" bookworm "$root" "$mirror" \
	>"$directory/debootstrap.log" 2>&1 || {
	tail -20 "$directory/debootstrap.log" >&2
	exit 1
}
chroot "$root" sh -ec 'cd /tmp; apt-get -q update; apt-get -q download libreswan
	dpkg --extract libreswan_*.deb unpacked; cp -a unpacked/usr unpacked/etc /' >>"$directory/debootstrap.log" 2>&1
rm -rf "$root"/tmp/* "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/doc "$root"/usr/share/locale

# Only what finds the root disk, packed so that an emulated processor unpacks it quickly.
printf 'virtio_pci\nvirtio_blk\n' >"$root/etc/initramfs-tools/modules"
sed -i -e 's/^MODULES=.*/MODULES=list/' -e 's/^COMPRESS=.*/COMPRESS=lz4/' "$root/etc/initramfs-tools/initramfs.conf"
chroot "$root" update-initramfs -u >>"$directory/debootstrap.log" 2>&1

# The guest's init is on the second disk, which is made anew for each boot: a change there needs no new image.
mkdir "$root/guest"
cat >"$root/sbin/guest-init" <<'INIT'
#!/bin/sh
mount -o ro /dev/vdb /guest && exec /bin/sh /guest/init.sh
INIT
chmod 755 "$root/sbin/guest-init"

cp "$root"/boot/vmlinuz-* "$directory/vmlinuz"
cp "$root"/boot/initrd.img-* "$directory/initrd"
chmod 644 "$directory/vmlinuz" "$directory/initrd"
rm -f "$directory/root.ext4"
mkfs.ext4 -q -d "$root" -L guest "$directory/root.ext4" 1G
echo "$recipe" >"$directory/recipe"
