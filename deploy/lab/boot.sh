#!/bin/sh
# The first half of a host's boot, in new mount, pid, uts and ipc namespaces: put its file system together from
# its disk, and go over to it. boot.sh DISK NAME; "up" on stdout when sshd listens, all else goes to stderr.
set -eu
disk=$1
root=$disk/root
echo "$2" >/proc/sys/kernel/hostname

mount --rbind "$root" "$root"
for layer in "$disk"/layers/*; do
    part=${layer##*/}
    mount -t overlay -o "lowerdir=/$part,upperdir=$layer/upper,workdir=$layer/work" overlay "$root/$part"
done
cd "$root"
# What a power cut takes from any machine.
mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs run
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs tmp
mount -t proc -o nosuid,nodev,noexec proc proc
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t tmpfs -o mode=0755,nosuid tmpfs dev
for device in null zero full random urandom tty; do
    : >dev/$device
    mount --bind /dev/$device dev/$device
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5,nosuid,noexec devpts dev/pts
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr

pivot_root . mnt
exec chroot . /init
