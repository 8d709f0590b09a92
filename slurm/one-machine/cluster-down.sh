#!/usr/bin/env bash
# Stops what cluster-up.sh started, and cancels all jobs. PURGE=1 also removes all state: objects, keys, accounts, logs.
#
#   ABET_CLUSTER_ROOT  as for cluster-up.sh
set -euo pipefail
# shellcheck source=SCRIPTDIR/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

here=$(dirname "${BASH_SOURCE[0]}")

"$here/slurm-down.sh"
"$here/s3-down.sh"
if [ -n "${PURGE:-}" ]; then
  rm -f "$root/env"
  # The variable may name a folder that holds more
  [ ! -d "$root" ] || rmdir --ignore-fail-on-non-empty "$root"
fi
