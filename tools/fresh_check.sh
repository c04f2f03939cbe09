#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Proves `make test` and `make serve` on a machine that has only Debian 12, make and network:
#   tools/fresh_check.sh DIR      DIR: an empty or absent folder for the new system (about 4 GB)
# Makes a Debian 12 root with debootstrap, copies this machine's settings of package clients into
# it, clones the committed state of this repository there, and runs both commands in a chroot.
# Needs root. Prints a summary; the full log is DIR.log. Exit status 0 if everything held.
set -euo pipefail
[ $# = 1 ] || { sed -n '3,7s/^# \{0,1\}//p' "$0"; exit 2; }
[ "$(id -u)" = 0 ] || { echo "fresh_check.sh: needs root" >&2; exit 1; }
repository=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
root=$(cd "$1" && pwd)
log=$root.log
port=8000
server=
failed=0
: >"$log"

unmount() {
  for mounted in dev proc; do
    mountpoint -q "$root/$mounted" && umount "$root/$mounted" || true
  done
}
stop_server() {
  [ -n "$server" ] || return 0
  kill -TERM "-$server" 2>/dev/null || true
  wait "$server" 2>/dev/null || true
  server=
}
trap 'stop_server; unmount' EXIT

say() { echo "fresh_check: $*" | tee -a "$log"; }
inside() { chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "$@"; }

# copy PATH: the same file or folder inside, if there is one here.
copy() {
  [ -e "$1" ] || return 0
  mkdir -p "$root$(dirname "$1")"
  cp -rL "$1" "$root$(dirname "$1")/"
}

# step NAME COMMAND...: runs it with output to the log; a line of the summary.
step() {
  local name=$1 start=$SECONDS
  shift
  echo "== $name: $*" >>"$log"
  if "$@" >>"$log" 2>&1; then
    say "$(printf '%-34s ok    %4d s' "$name" $((SECONDS - start)))"
  else
    say "$(printf '%-34s FAILED %3d s (see %s)' "$name" $((SECONDS - start)) "$log")"
    failed=1
    return 1
  fi
}

bootstrap() {
  [ -e "$root/etc/debian_version" ] ||
    debootstrap --variant=minbase --include=make,ca-certificates bookworm "$root"
}

settings() {
  rm -f "$root/etc/apt/sources.list"
  copy /etc/resolv.conf
  copy /etc/hosts
  copy /etc/apt/sources.list
  copy /etc/apt/sources.list.d/debian.sources
  copy /etc/apt/apt.conf.d
  copy /etc/apt/auth.conf.d
  copy /etc/apt/keyrings
  copy /usr/share/keyrings
  copy /usr/local/share/ca-certificates
  copy /etc/ssl/certs
  copy /etc/pip.conf
  copy "$HOME/.config/pip"
  copy "$HOME/.cargo/config.toml"
  copy "$HOME/.cargo/config"
  [ -e "$root/etc/apt/sources.list.d/debian.sources" ] || [ -e "$root/etc/apt/sources.list" ] ||
    echo "deb http://deb.debian.org/debian bookworm main" >"$root/etc/apt/sources.list"
  mkdir -p "$root/proc" "$root/dev"
  mountpoint -q "$root/proc" || mount --bind /proc "$root/proc"
  mountpoint -q "$root/dev" || mount --bind /dev "$root/dev"
}

clone() {
  rm -rf "$root/root/braid"
  git clone -q --no-hardlinks "$repository" "$root/root/braid"
}

make_inside() { inside make -C /root/braid "$@"; }

start_server() {
  setsid chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    make -C /root/braid serve PORT=$port >>"$log" 2>&1 &
  server=$!
  local deadline=$((SECONDS + 120))
  until inside curl -sf "http://localhost:$port/health" >/dev/null 2>&1; do
    kill -0 "$server" 2>/dev/null || return 1
    [ $SECONDS -lt $deadline ] || return 1
    sleep 1
  done
}

ask() {
  answer=$(inside curl -s "http://localhost:$port/v1/chat/completions" \
    -H 'Content-Type: application/json' \
    -d '{"messages":[{"role":"user","content":"What is a river?"}],"temperature":0}')
  echo "$answer"
  grep -q '"content"' <<<"$answer"
}

nothing_left_to_do() {
  local output
  output=$(make_inside build)
  echo "$output"
  grep -q 'no work to do' <<<"$output" && ! grep -q 'installing' <<<"$output"
}

say "Debian 12 root in $root, $(git -C "$repository" rev-parse --short HEAD), $(nproc) cores"
step "debootstrap" bootstrap
step "settings of package clients" settings
step "git clone" clone
step "make build" make_inside build || exit 1
step "make build again does nothing" nothing_left_to_do || true
step "make test" make_inside test || true
say "$(grep -aE 'tests passed|tests failed' "$log" | tail -1)"
if step "make serve" start_server; then
  step "What is a river?" ask || true
  say "$(printf '%s' "${answer:-}" | head -c 600)"
fi
stop_server
say "$([ $failed = 0 ] && echo 'everything held' || echo 'something FAILED'), $SECONDS s in all"
exit $failed
