#!/bin/sh
# Process 1 of a host: the second half of its boot, then it only reaps. See boot.sh.
set -eu
exec 3>&1 >&2 </dev/null
umount -l /mnt

mkdir -p /run/sshd /run/lock
"$(command -v sshd)" -E /var/log/sshd.log 3>&- || { tail -n 3 /var/log/sshd.log; exit 1; }
tries=0
until [ -e /run/sshd.pid ]; do  # written once it listens
    tries=$((tries + 1))
    [ $tries -lt 1000 ] || { tail -n 3 /var/log/sshd.log; exit 1; }
    sleep 0.02
done
if [ -x /etc/rc.local ]; then
    # A session of its own, as any service: no signal of ours is meant for it.
    setsid /etc/rc.local >>/var/log/rc.local.log 2>&1 3>&- &
fi
echo up >&3
exec 3>&-

# The shell reaps whatever has lost its parent as long as it waits.
while :; do
    sleep 86400 &
    wait $! || true
done
