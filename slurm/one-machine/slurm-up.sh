#!/usr/bin/env bash
# Starts a real SLURM on this machine: two nodes of eight pretended GPUs each, accounting, preemption. As root.
#
#   slurm/one-machine/slurm-up.sh      start; does nothing when it runs already
#   slurm/one-machine/slurm-down.sh    cancel all jobs and stop [PURGE=1: also remove state, logs and accounts]
#
#   ABET_CLUSTER_ROOT  folder of all state (${TMPDIR:-/tmp}/abet-cluster-<uid>), here its slurm/
#   ABET_SLURM_PORT    first of four ports in a row (18350)
#
# Debian's packages are installed when they are absent; nothing of theirs is started by itself, now or at boot.
# Afterwards: export SLURM_CONF=<root>/slurm/etc/slurm.conf
# Partitions: debug (the default), and high, which takes nodes from debug. A job that loses them gets the signal that it
# asked for by --signal, else SIGTERM to its steps, and grace_seconds later it is requeued. One that ends before that
# has ended for good, so a job that wants to go on requeues itself.
set -euo pipefail
umask 022
# shellcheck source=SCRIPTDIR/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

state=$root/slurm
packages=(slurmctld slurmd slurm-client munge slurmdbd slurm-wlm-mysql-plugin mariadb-server)
programs=(slurmctld slurmd sbatch munged slurmdbd mariadbd mariadb-install-db)
nodes=(n1 n2)
gpus_per_node=8
# What such nodes usually have, so that jobs written for them are accepted
cpus_per_node=128
memory_mib_per_node=1000000
# Time to save: after a preemption's signal, and between SIGTERM and SIGKILL of scancel or at a time limit
grace_seconds=30
# How long a job's credential lasts. A requeued job waits for just as long, and a second more, before it starts again:
# two minutes as SLURM comes.
credential_seconds=5
host=$(cat /proc/sys/kernel/hostname)
host=${host%%.*}

[ "$(id -u)" = 0 ] || die "SLURM's daemons need root; run this as root, for example by sudo"

install_packages() {
  command -v apt-get >/dev/null || die "absent: ${missing[*]}; install SLURM, munge and MariaDB (Debian: ${packages[*]})"
  echo "installing Debian's packages: ${packages[*]}"
  local policy=/usr/sbin/policy-rc.d service
  # With this in place packages start no service when they are installed
  if [ ! -e "$policy" ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
  for service in slurmctld slurmd slurmdbd munge mariadb; do
    update-rc.d "$service" disable >/dev/null 2>&1 || true
  done
}

make_folders() {
  mkdir -p "$state"/{etc,run,log,state,munge,dev,db} "${nodes[@]/#/$state/spool.}"
  chmod 700 "$state/db"
}

# slurmd wants character devices, else jobs see no CUDA_VISIBLE_DEVICES; these are further names of /dev/null
make_gpus() {
  local device
  for ((device = 0; device < gpus_per_node; device++)); do
    [ -c "$state/dev/nvidia$device" ] || mknod -m 666 "$state/dev/nvidia$device" c 1 3 ||
      die "cannot make devices in $state/dev; in a container this needs the capability MKNOD"
  done
}

write_slurm_conf() {
  cat >"$state/etc/slurm.conf" <<CONF
ClusterName=abet
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$slurm_port
SlurmUser=root
SlurmdUser=root
SlurmctldPidFile=$state/run/slurmctld.pid
SlurmdPidFile=$state/run/slurmd.%n.pid
SlurmctldLogFile=$state/log/slurmctld.log
SlurmdLogFile=$state/log/slurmd.%n.log
StateSaveLocation=$state/state
SlurmdSpoolDir=$state/spool.%n
PlugStackConfig=/dev/null
AuthType=auth/munge
AuthInfo=socket=$state/munge/socket,cred_expire=$credential_seconds
MpiDefault=none
SwitchType=switch/none
# No cgroups: they are not to be had in every container
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=5
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((slurm_port + 1))
AccountingStoragePass=$state/munge/socket
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
KillWait=$grace_seconds
MinJobAge=600
SlurmctldTimeout=30
SlurmdTimeout=30
ReturnToService=2
GresTypes=gpu
# What the nodes say of themselves counts, not what this machine has
SlurmdParameters=config_overrides
NodeName=n[1-${#nodes[@]}] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((slurm_port + 2))-$((slurm_port + 1 + ${#nodes[@]}))] CPUs=$cpus_per_node RealMemory=$memory_mib_per_node Gres=gpu:$gpus_per_node
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE GraceTime=$grace_seconds
PartitionName=high Nodes=ALL MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
CONF
  echo "Name=gpu File=$state/dev/nvidia[0-$((gpus_per_node - 1))]" >"$state/etc/gres.conf"
}

write_slurmdbd_conf() {
  (
    umask 077
    cat >"$state/etc/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$state/munge/socket
DbdHost=$host
DbdAddr=127.0.0.1
DbdPort=$((slurm_port + 1))
SlurmUser=root
PidFile=$state/run/slurmdbd.pid
LogFile=$state/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
CONF
  )
}

# daemon WORD PIDFILE COMMAND...: start what does not run; with its output redirected, so that no caller's pipe stays open
daemon() {
  local word=$1 pidfile=$2
  shift 2
  alive "$pidfile" "$word" || "$@" </dev/null >>"$state/log/start.log" 2>&1 || failed "$1"
}

failed() { die "$1 does not start: $(tail -qn 10 "$state"/log/*.log)"; }

start_munge() {
  local key=$state/munge/key
  [ -s "$key" ] || (umask 077 && head -c 1024 /dev/urandom >"$key")
  daemon "$key" "$state/run/munged.pid" munged --key-file="$key" --socket="$state/munge/socket" \
    --pid-file="$state/run/munged.pid" --log-file="$state/log/munged.log" --seed-file="$state/munge/seed"
  wait_for 10 munge -n -S "$state/munge/socket" || failed munged
}

# Reached by its socket alone, whose clients it knows by their user: root needs no password
start_mariadb() {
  local db=$state/db
  [ -d "$db/data/mysql" ] || mariadb-install-db --no-defaults --user=root --datadir="$db/data" --skip-test-db \
    --auth-root-authentication-method=socket >>"$state/log/start.log" 2>&1 || failed mariadb-install-db
  if ! alive "$state/run/mariadbd.pid" "$db/data"; then
    setsid mariadbd --no-defaults --user=root --datadir="$db/data" --socket="$db/socket" \
      --pid-file="$state/run/mariadbd.pid" --skip-networking --skip-log-bin --innodb-buffer-pool-size=128M \
      --innodb-lock-wait-timeout=900 --innodb-flush-log-at-trx-commit=2 >>"$state/log/mariadbd.log" 2>&1 </dev/null &
  fi
  wait_for 60 mariadb-admin --no-defaults --user=root --socket="$db/socket" ping || failed mariadbd
}

# libmariadb, and so slurmdbd, finds the socket by MYSQL_UNIX_PORT
start_slurmdbd() {
  MYSQL_UNIX_PORT=$state/db/socket daemon slurmdbd "$state/run/slurmdbd.pid" slurmdbd
  wait_for 60 sacctmgr -n list cluster || failed slurmdbd
  [ -n "$(sacctmgr -n list cluster abet format=cluster)" ] || sacctmgr -i add cluster abet >>"$state/log/start.log"
}

start_slurm() {
  local node
  daemon slurmctld "$state/run/slurmctld.pid" slurmctld -i
  wait_for 30 scontrol ping || failed slurmctld
  for node in "${nodes[@]}"; do
    daemon "slurmd -N $node" "$state/run/slurmd.$node.pid" slurmd -N "$node"
  done
  wait_for 60 all_nodes_up || failed "a node"
}

all_nodes_up() { [ "$(sinfo -h -N -p debug -t idle,mixed,allocated,completing -o %N | wc -l)" = "${#nodes[@]}" ]; }

missing=()
for program in "${programs[@]}"; do
  command -v "$program" >/dev/null || missing+=("$program")
done
[ ${#missing[@]} = 0 ] || install_packages

export SLURM_CONF=$state/etc/slurm.conf
if alive "$state/run/slurmctld.pid" slurmctld; then
  grep -qx "SlurmctldPort=$slurm_port" "$SLURM_CONF" ||
    die "SLURM in $state runs on other ports than $slurm_port; stop it first with slurm-down.sh"
else
  check_free ABET_SLURM_PORT "$slurm_port" 4
  make_folders
  make_gpus
  write_slurm_conf
  write_slurmdbd_conf
fi
start_munge
start_mariadb
start_slurmdbd
start_slurm
echo "SLURM is up: ${#nodes[@]} nodes of $gpus_per_node GPUs, SLURM_CONF=$SLURM_CONF"
