#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Packs programs with the libraries they need, for machines that have neither a build nor this system's libraries:
#   tools/bundle.sh OUT.tar.xz PROGRAM...
# There: tar xJf OUT.tar.xz && bundle/run PROGRAM ARGUMENT...
# A program that starts more processes of itself, as several ranks do, needs a build there instead.
# The driver's own libraries (libcuda) are those of the machine that it runs on.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '3,7s/^# //p' "$0"; exit 2; }
out=$(realpath "$1")
shift
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/bundle"
for program in "$@"; do
  cp "$program" "$folder/bundle/"
  strip "$folder/bundle/$(basename "$program")"
done
libraries=$(ldd "$@" | grep -oE '/[^ ]+\.so[^ ]*' | sort -u)
libc=$(dirname "$(grep -m1 '/libc\.so' <<<"$libraries")")
loader=$(grep -m1 '/ld-linux' <<<"$libraries")
# The driver asks for parts of the C library that the programs may not have asked for; they must be of one version.
cp -Lf $libraries "$libc"/lib{dl.so.2,pthread.so.0,rt.so.1} "$folder/bundle/"
cat > "$folder/bundle/run" <<RUN
#!/bin/bash
here=\$(dirname "\$(realpath "\$0")")
driver=\$(dirname "\$(ldconfig -p | sed -n 's/.*libcuda\.so\.1 .*=> //p' | head -1)")
program=\$1
shift
exec "\$here/$(basename "$loader")" --library-path "\$here:\$driver" "\$here/\$program" "\$@"
RUN
chmod +x "$folder/bundle/run"
tar -C "$folder" -cf - bundle | xz -T0 > "$out"
echo "bundle.sh: $out, $(($(stat -c %s "$out") >> 10)) KiB"
