#!/usr/bin/env bash
# Stops the S3 server that s3-up.sh started. What it stores stays; PURGE=1 removes that, and the keys.
#
#   ABET_CLUSTER_ROOT, ABET_S3_ROOT  as for s3-up.sh
set -euo pipefail

root=${ABET_S3_ROOT:-${ABET_CLUSTER_ROOT:-${TMPDIR:-/tmp}/abet-cluster-$(id -u)}/s3}
# Asked to end it waits for streams between its own parts that never do; what it has answered for lies on the disk
stop_seconds=2

# A pid alone may by now be someone else's process; and one that has ended, not yet waited for, has no command line
alive() { [ -s "$root/pid" ] && grep -qzxF -e "-dir=$root/data" "/proc/$(cat "$root/pid")/cmdline" 2>/dev/null; }

if alive; then
  kill "$(cat "$root/pid")"
  for ((tries = stop_seconds * 10; tries > 0; tries--)); do
    alive || break
    sleep 0.1
  done
  ! alive || kill -KILL "$(cat "$root/pid")"
fi
# Killed, it leaves these behind; their place is its own choice, their names are the ports of s3-up.sh
if [ -s "$root/port" ]; then
  port=$(cat "$root/port")
  rm -f /tmp/seaweedfs-s3-grpc-$((port + 4)).sock /tmp/seaweedfs-master-grpc-$((port + 5)).sock \
    /tmp/seaweedfs-volume-grpc-$((port + 6)).sock /tmp/seaweedfs-filer-grpc-$((port + 7)).sock
fi
rm -f "$root/pid"
# Only what s3-up.sh made: the variable may name a folder that holds more
if [ -n "${PURGE:-}" ] && [ -d "$root" ]; then
  rm -rf "$root/data" "$root/log" "$root/s3.json" "$root/port" "$root"/credentials{,-readonly} "$root"/*.sock
  rmdir --ignore-fail-on-non-empty "$root"
fi
echo "S3 is down"
