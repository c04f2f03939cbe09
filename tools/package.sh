#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Packs a built braid for Debian 12: braid (programs, services, settings) and braid-model-lexicon-30m.
#   tools/package.sh BRAID FOLDER    puts both .deb into FOLDER
set -euo pipefail
braid=$(realpath "$1")
folder=$(realpath -m "$2")
cd "$(dirname "$0")/.."
version=$("$braid" --version | sed 's/^braid //')
architecture=$(dpkg --print-architecture)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# control NAME ARCHITECTURE DEPENDS DESCRIPTION
control() {
  mkdir -p "$work/$1/DEBIAN" "$work/$1/usr/share/doc/$1"
  cp LICENSE "$work/$1/usr/share/doc/$1/copyright"
  printf '%s\n' "Package: $1" "Version: $version" "Architecture: $2" "Maintainer: Braid's developers <braid@localhost>" \
    "Section: net" "Priority: optional" "Depends: $3" "Description: $4" >"$work/$1/DEBIAN/control"
}

# pack NAME ARCHITECTURE
pack() {
  mkdir -p "$folder"
  dpkg-deb --root-owner-group -Zxz --build "$work/$1" "$folder/$1_${version}_$2.deb" >/dev/null
  echo "Packed $folder/$1_${version}_$2.deb"
}

control braid "$architecture" "libc6 (>= 2.36), libstdc++6 (>= 12), libgcc-s1, libssl3, ca-certificates, passwd" "inference server and router for mixture-of-experts models (CPU)"
root=$work/braid
install -D "$braid" "$root/usr/bin/braid"
strip "$root/usr/bin/braid"
install -D -m 644 -t "$root/lib/systemd/system" deploy/packages/braid-serve.service deploy/packages/braid-route.service
install -D -m 640 -t "$root/etc/braid" deploy/packages/serve.env deploy/packages/route.env
install -D -m 644 deploy/packages/README.md "$root/usr/share/doc/braid/README.md"
install -m 755 -t "$root/DEBIAN" deploy/packages/postinst deploy/packages/prerm
printf '/etc/braid/serve.env\n/etc/braid/route.env\n' >"$root/DEBIAN/conffiles"
pack braid "$architecture"

control braid-model-lexicon-30m all braid "small model to try Braid with"
mkdir -p "$work/braid-model-lexicon-30m/usr/share/braid/models"
cp -r models/lexicon-30m "$work/braid-model-lexicon-30m/usr/share/braid/models/"
chmod -R u=rwX,go=rX "$work/braid-model-lexicon-30m/usr"
pack braid-model-lexicon-30m all
