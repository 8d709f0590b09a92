# shellcheck shell=bash
# Sourced by the scripts beside it: where a one-machine cluster keeps its state, how its daemons are found and ended.
#
#   ABET_CLUSTER_ROOT  folder of all state (${TMPDIR:-/tmp}/abet-cluster-<uid>)
#   ABET_S3_PORT       first of the eight loopback ports in a row of the S3 server, the endpoint's own (18333)
#   ABET_SLURM_PORT    first of the four loopback ports in a row of SLURM (18350)

root=${ABET_CLUSTER_ROOT:-${TMPDIR:-/tmp}/abet-cluster-$(id -u)}
s3_port=${ABET_S3_PORT:-18333}
slurm_port=${ABET_SLURM_PORT:-18350}

die() { echo "$(basename "$0" .sh): $*" >&2; exit 1; }

# check_port NAME VALUE COUNT
check_port() {
  [[ "$2" =~ ^[0-9]{1,5}$ ]] && [ "$2" -ge 1024 ] && [ $(($2 + $3)) -le 65536 ] ||
    die "$1=$2: expected a port from 1024 to $((65536 - $3))"
}

# check_free NAME PORT COUNT: nobody listens on the ports from PORT on
check_free() {
  local port
  for ((port = $2; port < $2 + $3; port++)); do
    ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null ||
      die "port $port is taken; set $1 to the first of $3 free ports in a row"
  done
}

# alive PIDFILE WORD: the process runs and WORD is in its command line. A pid alone may by now be someone else's; and a
# process that has ended, and was not waited for, has no command line.
alive() { [ -s "$1" ] && tr '\0' ' ' 2>/dev/null <"/proc/$(cat "$1")/cmdline" | grep -qF -e "$2"; }

# wait_for SECONDS COMMAND...
wait_for() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.1
  done
}

# stop PIDFILE WORD SECONDS: ask it to end, then make it
stop() {
  if alive "$1" "$2"; then
    kill "$(cat "$1")"
    if ! wait_for "$3" ended "$1" "$2"; then
      kill -KILL "$(cat "$1")" 2>/dev/null || true
      wait_for 10 ended "$1" "$2" || die "$2 (process $(cat "$1")) does not end"
    fi
  fi
  rm -f "$1"
}

ended() { ! alive "$1" "$2"; }

case $root in /*) ;; *) root=$PWD/$root ;; esac
# slurm.conf and credentials files have no quotes
[[ "$root" =~ ^[A-Za-z0-9/._-]+$ ]] ||
  die "ABET_CLUSTER_ROOT=$root: use letters, digits and / . _ - alone"
# The longest is the socket of a job's step: /slurm/spool.n1/n1_1234567.4294967291
[ ${#root} -le 65 ] ||
  die "ABET_CLUSTER_ROOT=$root has ${#root} characters; paths of sockets end at 107, so use 65 at most"
# Others may have made a folder of this name where everyone may write
[ ! -e "$root" ] || [ -O "$root" ] || die "$root belongs to someone else; set ABET_CLUSTER_ROOT"
check_port ABET_S3_PORT "$s3_port" 8
check_port ABET_SLURM_PORT "$slurm_port" 4
