#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Installs packages in a fresh Debian 12 and asks the server in it for an answer; needs root and debootstrap.
#   package_test.sh PACKAGE.deb...
set -euo pipefail
. "$(dirname "$0")/fresh_root.sh"
make_root ca-certificates,curl,systemd
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
await_server 8473 "$root/serve.log"
ask 8473
end_server

inside sh -c 'DEBIAN_FRONTEND=noninteractive apt-get -q -y purge braid braid-model-lexicon-30m' >/dev/null
[ ! -e "$root/etc/braid/serve.env" ] || fail "a purge leaves serve.env"
echo "package_test.sh: installed, answered, removed"
