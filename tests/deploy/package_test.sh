#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Installs packages in a fresh Debian 12 and asks the server in it for an answer; needs root and debootstrap.
#   package_test.sh PACKAGE.deb...
set -euo pipefail
root=$(mktemp -d)
chmod 755 "$root"
server=
finish() {
  [ -z "$server" ] || { kill -9 "$server" && wait "$server"; } 2>/dev/null || true
  umount "$root/proc" "$root/dev/pts" "$root/dev" 2>/dev/null || true
  mountpoint -q "$root/dev" || rm -rf --one-file-system "$root"
}
trap finish EXIT
fail() { echo "package_test.sh: $*" >&2; exit 1; }
inside() { chroot "$root" "$@"; }

debootstrap --variant=minbase --include=ca-certificates,curl,systemd bookworm "$root" >"$root.log" 2>&1 || { tail "$root.log" >&2; fail "debootstrap failed"; }
rm "$root.log" "$root/etc/apt/sources.list"
for from in /etc/resolv.conf /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources /etc/apt/apt.conf.d /etc/apt/keyrings /etc/apt/auth.conf.d; do
  [ ! -e "$from" ] || cp -rLT "$from" "$root$from"
done
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount --bind /dev/pts "$root/dev/pts"
mkdir "$root/packages"
cp "$@" "$root/packages"
chmod 644 "$root"/packages/*
inside apt-get -q -y update >/dev/null
inside sh -c 'DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install /packages/*.deb' >/dev/null

inside systemd-analyze verify /lib/systemd/system/braid-serve.service /lib/systemd/system/braid-route.service
[ "$(inside stat -c '%U:%G %a' /etc/braid/serve.env)" = "root:braid 640" ] || fail "others may read serve.env"
code=0
inside braid serve --no-such-flag >/dev/null 2>&1 || code=$?
[ "$code" = 2 ] || fail "a wrong flag ends with $code, so systemd would start the service again and again"

# As the service: its user, its settings, its words; exec, so that a signal to the job reaches braid itself.
as_service() { exec chroot "$root" setpriv --reuid braid --regid braid --clear-groups env HOME=/tmp sh -c 'set -a; . "/etc/braid/$0.env"; exec braid '"$2" "$1"; }
sed -i 's/--port 8000/--port 8473/' "$root/etc/braid/serve.env"
as_service serve 'serve $BRAID_MODEL $BRAID_SERVE_ARGS' >"$root/serve.log" 2>&1 &
server=$!
inside curl -sf --retry 60 --retry-delay 1 --retry-connrefused --max-time 120 -o /dev/null http://127.0.0.1:8473/health || { tail "$root/serve.log" >&2; fail "the server never became healthy"; }
kill -0 "$server" 2>/dev/null || { tail "$root/serve.log" >&2; fail "another server answers on port 8473; this one ended"; }
answer=$(inside curl -sf --max-time 120 http://127.0.0.1:8473/v1/completions -H 'content-type: application/json' -d '{"prompt": "Once upon a time", "max_tokens": 8, "ignore_eos": true}')
[[ $answer == *'"completion_tokens":8'* ]] || fail "no answer of 8 tokens: $answer"
kill "$server"
timeout 60 tail --pid="$server" -s 0.1 -f /dev/null || fail "the server lives 60 seconds after SIGTERM"
code=0
wait "$server" || code=$?
server=
[ "$code" = 0 ] || fail "SIGTERM ended the server with $code instead of 0"

inside sh -c 'DEBIAN_FRONTEND=noninteractive apt-get -q -y purge braid braid-model-lexicon-30m' >/dev/null
[ ! -e "$root/etc/braid/serve.env" ] || fail "a purge leaves serve.env"
echo "package_test.sh: installed, answered, removed"
