#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Engines and a router in front of them on this machine. usage: up.sh [ENGINES]
# BRAID, MODEL, PORT (of the router), ENGINE_PORT (of the first engine) and ENGINE_FLAGS may be set.
# Ctrl-C, or SIGTERM, ends all of them: the router first, which lets running requests end.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
engines=${1:-2}
braid=${BRAID:-$root/build/release/braid}
model=${MODEL:-$root/models/lexicon-30m}
port=${PORT:-8081}
first=${ENGINE_PORT:-8100}
[ -x "$braid" ] || { echo "there is no $braid: run make build, or set BRAID" >&2; exit 1; }

threads=$(($(nproc) / engines))
list=()
pids=()
for ((i = 0; i < engines; i++)); do
  # shellcheck disable=SC2086
  "$braid" serve "$model" --host 127.0.0.1 --port $((first + i)) --served-model-name lexicon \
    --cpu-threads $((threads > 0 ? threads : 1)) ${ENGINE_FLAGS:-} &
  pids+=($!)
  list+=("127.0.0.1:$((first + i))")
done
"$braid" route --host 127.0.0.1 --port "$port" --config-file "$here/epp.yaml" --endpoints "${list[@]}" &
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
