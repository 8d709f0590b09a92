#!/usr/bin/env bash
# Stops the S3 server that s3-up.sh started. What it stores stays; PURGE=1 removes that, and the keys.
#
#   ABET_CLUSTER_ROOT  as for s3-up.sh
set -euo pipefail
# shellcheck source=SCRIPTDIR/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

state=$root/s3
sockets=/tmp

# Asked to end it waits for streams between its own parts, which never do; what it has answered for lies on the disk
stop "$state/pid" "-dir=$state/data" 2
# Killed, it leaves these behind; where they lie is its own choice, their names are the ports of s3-up.sh
if [ -s "$state/port" ]; then
  port=$(cat "$state/port")
  for part in s3:4 master:5 volume:6 filer:7; do
    rm -f "$sockets/seaweedfs-${part%:*}-grpc-$((port + ${part#*:})).sock"
  done
fi
if [ -n "${PURGE:-}" ]; then
  rm -rf "$state"
fi
echo "S3 is down"
