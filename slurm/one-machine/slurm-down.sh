#!/usr/bin/env bash
# Stops the SLURM that slurm-up.sh started, and cancels all of its jobs. PURGE=1 also removes state, logs and accounts.
#
#   ABET_CLUSTER_ROOT  as for slurm-up.sh
set -euo pipefail
# shellcheck source=SCRIPTDIR/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

state=$root/slurm
export SLURM_CONF=$state/etc/slurm.conf

# Jobs outlive slurmd, so they end first: at once, without the time to save that they otherwise have. One that is asked
# to end may requeue itself, so it is asked again.
no_jobs() {
  scancel --quiet --state=PENDING
  scancel --quiet --state=RUNNING --signal=KILL --full
  scancel --quiet --state=RUNNING
  [ -z "$(squeue -h)" ]
}

if alive "$state/run/slurmctld.pid" slurmctld; then
  wait_for 40 no_jobs || echo "slurm-down: jobs still run: $(squeue -h -o %i | tr '\n' ' ')" >&2
fi
for pidfile in "$state"/run/slurmd.*.pid; do
  [ ! -e "$pidfile" ] || stop "$pidfile" slurmd 15
done
stop "$state/run/slurmctld.pid" slurmctld 15
stop "$state/run/slurmdbd.pid" slurmdbd 15
stop "$state/run/mariadbd.pid" "$state/db/data" 30
stop "$state/run/munged.pid" "$state/munge/key" 10
if [ -n "${PURGE:-}" ]; then
  rm -rf "$state"
fi
echo "SLURM is down"
