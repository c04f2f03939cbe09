# SPDX-License-Identifier: Apache-2.0
# To be sourced: a fresh Debian 12 in $root with this machine's settings of package clients, until the script ends; needs
# root and debootstrap.
#   make_root PACKAGE,PACKAGE...
root=$(mktemp -d)
chmod 755 "$root"
server=
finish() {
  [ -z "$server" ] || { kill -9 "$server" && wait "$server"; } 2>/dev/null || true
  umount "$root/proc" "$root/dev/pts" "$root/dev" 2>/dev/null || true
  mountpoint -q "$root/dev" || rm -rf --one-file-system "$root"
}
trap finish EXIT
fail() { echo "$(basename "$0"): $*" >&2; exit 1; }
inside() { chroot "$root" "$@"; }

make_root() {
  local from
  command -v debootstrap >/dev/null || fail "needs debootstrap: apt-get install debootstrap"
  debootstrap --variant=minbase --include="$1" bookworm "$root" >"$root.log" 2>&1 || { tail "$root.log" >&2; fail "debootstrap failed"; }
  rm "$root.log" "$root/etc/apt/sources.list"
  for from in /etc/resolv.conf /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources /etc/apt/apt.conf.d /etc/apt/keyrings /etc/apt/auth.conf.d; do
    [ ! -e "$from" ] || cp -rLT "$from" "$root$from"
  done
  mount -t proc proc "$root/proc"
  mount --bind /dev "$root/dev"
  mount --bind /dev/pts "$root/dev/pts"
}

# await_server PORT LOG: healthy, and the one that was started as $server.
await_server() {
  inside curl -sf --retry 60 --retry-delay 1 --retry-connrefused --max-time 120 -o /dev/null "http://127.0.0.1:$1/health" || { tail "$2" >&2; fail "the server never became healthy"; }
  kill -0 "$server" 2>/dev/null || { tail "$2" >&2; fail "another server answers on port $1; this one ended"; }
}

# ask PORT: eight tokens.
ask() {
  local answer
  answer=$(inside curl -sf --max-time 120 "http://127.0.0.1:$1/v1/completions" -H 'content-type: application/json' -d '{"prompt": "Once upon a time", "max_tokens": 8, "ignore_eos": true}')
  [[ $answer == *'"completion_tokens":8'* ]] || fail "no answer of 8 tokens: $answer"
}

# end_server: by SIGTERM, with exit code 0.
end_server() {
  local code=0
  kill "$server"
  timeout 60 tail --pid="$server" -s 0.1 -f /dev/null || fail "the server lives 60 seconds after SIGTERM"
  wait "$server" || code=$?
  server=
  [ "$code" = 0 ] || fail "SIGTERM ended the server with $code instead of 0"
}
