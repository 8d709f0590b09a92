#!/usr/bin/env bash
# start.sh ROOT FOLDER UID COMMAND...: what a kubelet does with a pod of restricted security, in the namespaces that
# unshare has made. It brings /etc/hosts; the root is read-only; /tmp, /dev/shm and /workspace can be written to; no capability is left.
set -euo pipefail
root=$1 folder=$2 uid=$3
shift 3
mount --make-rprivate /
mount --bind "$root" "$root"
mkdir -p "$root/data" "$root/workspace" "$root/dev/shm" "$root/etc/abet"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero random urandom; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm"
mount -t tmpfs -o mode=1777,size=1g tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=1777,size=2g tmpfs "$root/tmp"
for file in hosts resolv.conf hostname; do
  : >"$root/etc/$file"
done
printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
mount --bind "$folder/data" "$root/data"
mount -o remount,bind,ro "$root/data"
mount --bind "$folder/workspace" "$root/workspace"
mount -o remount,bind,ro "$root"
cd "$root"
exec unshare --root="$root" --wd=/workspace setpriv --reuid "$uid" --regid 0 --clear-groups \
  --bounding-set=-all --inh-caps=-all --no-new-privs -- "$@"
