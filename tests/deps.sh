#!/bin/sh
# Installs what building, the demo and the tests need from Debian, and only what is missing.
#   tests/deps.sh build    to build
#   tests/deps.sh demo     to build and to run `make demo`
#   tests/deps.sh test     to build and to run `make test`
#   tests/deps.sh vm       to build and to run `make test-vm`
set -eu

build="libdpdk-dev libipsec-mb-dev pkg-config gcc libc6-dev clang libclang-dev"
demo="iproute2 util-linux ethtool nftables iputils-ping tcpdump iperf3 curl"
peers="charon-systemd strongswan-swanctl libstrongswan-standard-plugins libstrongswan-extra-plugins
  libcharon-extra-plugins"
tools="prometheus python3 python3-cryptography python3-scapy"
emulator="qemu-system-x86 debootstrap e2fsprogs python3"

case "${1:-}" in
build) wanted="$build" ;;
demo) wanted="$build $demo" ;;
test) wanted="$build $demo $peers $tools" ;;
vm) wanted="$build $demo $emulator" ;;
*)
	sed -n '2,6s/^# *//p' "$0" >&2
	exit 2
	;;
esac

if ! command -v dpkg-query >/dev/null; then
	echo "This is no Debian. Install what these packages hold by other means, then go on:" $wanted >&2
	exit 1
fi

missing=""
for package in $wanted; do
	state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
	as_root=""
elif command -v sudo >/dev/null; then
	as_root="sudo"
else
	echo "These packages are missing; install them as root: apt-get install$missing" >&2
	exit 1
fi

echo "Installing:$missing"
$as_root apt-get update
# No services: a peer's or Prometheus' daemon has no business on the machine outside the tests.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
	$as_root chmod 755 "$policy"
	trap '$as_root rm -f "$policy"' EXIT
fi
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $missing
