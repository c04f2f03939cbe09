#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Engines and a router in front of them on this machine:
#   up.sh [ENGINES]        engines that do both
#   up.sh PREFILL DECODE   engines that compute prompts, and engines that continue them
# BRAID, MODEL, PORT (of the router), ENGINE_PORT (of the first engine) and ENGINE_FLAGS may be set.
# Ctrl-C, or SIGTERM, ends all of them: the router first, which lets running requests end.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
braid=${BRAID:-$root/build/release/braid}
model=${MODEL:-$root/models/lexicon-30m}
port=${PORT:-8081}
first=${ENGINE_PORT:-8100}
[ -x "$braid" ] || { echo "there is no $braid: run make build, or set BRAID" >&2; exit 1; }

case $# in
  0 | 1) config=epp.yaml engines=${1:-2} ;;
  2) config=pd.yaml engines=$(($1 + $2)) ;;
  *) sed -n '3,5s/^# *//p' "$0" >&2; exit 2 ;;
esac
threads=$(($(nproc) / engines))
[ "$threads" -gt 0 ] || threads=1

list=()
pids=()
start_engines() {  # how many, their role, further flags
  for ((i = 0; i < $1; i++)); do
    local at=$((first + ${#list[@]}))
    # shellcheck disable=SC2086
    "$braid" serve "$model" --host 127.0.0.1 --port "$at" --served-model-name lexicon --cpu-threads "$threads" "${@:3}" ${ENGINE_FLAGS:-} &
    pids+=($!)
    list+=("127.0.0.1:$at;role=$2")
  done
}
transfers=(--kv-transfer-config.kv-connector NixlConnector --kv-transfer-config.kv-port 0 --kv-transfer-config.kv-role)
if [ $# = 2 ]; then
  start_engines "$1" prefill "${transfers[@]}" kv_producer
  start_engines "$2" decode "${transfers[@]}" kv_consumer
else
  start_engines "$engines" both
fi
"$braid" route --host 127.0.0.1 --port "$port" --config-file "$here/$config" --endpoints "${list[@]}" &
router=$!

end() {
  trap - INT TERM
  kill -TERM "$router" 2>/dev/null || true
  wait "$router" || true
  kill -TERM "${pids[@]}" 2>/dev/null || true
  wait
  exit 0
}
trap end INT TERM
wait "$router" || true
end
