# The guest's first process: what a kernel needs, then the agent. No service is started.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm /run
mount -t devpts pts /dev/pts
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mount -o remount,rw /
for module in virtio_net virtio_console virtio_rng veth esp4 esp6 ah4 ah6 xfrm_user xfrm_interface af_key 8021q; do
	modprobe "$module"
done
ip link set lo up
exec python3 /guest/agent.py
