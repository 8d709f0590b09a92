#!/usr/bin/env bash
# Starts SLURM and an S3 server on this machine, to try every way in which abet runs on a cluster. As root.
#
#   make cluster-up      this; does nothing when both run already
#   make cluster-down    stop both; stored objects and accounts stay [PURGE=1: removes everything]
#
#   ABET_CLUSTER_ROOT, ABET_S3_PORT, ABET_SLURM_PORT, WEED  as s3-up.sh and slurm-up.sh say, which this runs
#
# Makes the bucket `abet`, writes <root>/env to be sourced, and says what a site file needs.
set -euo pipefail
# shellcheck source=SCRIPTDIR/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

here=$(dirname "${BASH_SOURCE[0]}")
bucket=abet

"$here/slurm-up.sh"
"$here/s3-up.sh" "$bucket"
cat >"$root/env" <<ENV
export SLURM_CONF=$root/slurm/etc/slurm.conf
export AWS_SHARED_CREDENTIALS_FILE=$root/s3/credentials
export AWS_EC2_METADATA_DISABLED=true
ENV
cat <<NEXT

Next, in the shell that you submit from:

  . $root/env

and in abet.site.yaml:

  artifacts: s3://$bucket/runs
  profile: one-machine
  s3:
    endpoint: http://127.0.0.1:$s3_port
    region: us-east-1

Then \`sinfo\` shows the nodes; \`make cluster-down\` ends all of it.
NEXT
