#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Plays the last stage of a Dockerfile in a fresh Debian 12, with a braid that is built already, and asks the server that its
# words start, as its user and with nothing writable but /tmp; needs root and debootstrap.
#   image_test.sh DOCKERFILE BRAID
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
. "$(dirname "$0")/fresh_root.sh"
dockerfile=$1 braid=$(realpath "$2")

# One line a step of the last stage: its word, a tab, the rest with continued lines joined.
steps() {
  python3 - "$dockerfile" <<'EOF'
import re, sys
text = re.sub(r"\\\n\s*", "", open(sys.argv[1]).read())
lines = [line for line in text.splitlines() if line and not line.startswith("#")]
last = max(i for i, line in enumerate(lines) if line.startswith("FROM "))
for line in lines[last:]:
    word, rest = line.split(None, 1)
    if word in ("ENTRYPOINT", "CMD"):
        import json, shlex
        rest = shlex.join(json.loads(rest))
    print(word, rest, sep="\t")
EOF
}

make_root curl
inside apt-get -q -y update >/dev/null
user= entrypoint= command= environment=()
while IFS=$'\t' read -r word rest; do
  case $word in
    FROM) [[ $rest == debian:bookworm* ]] || fail "the image is built on $rest, which is no Debian 12" ;;
    RUN) inside env DEBIAN_FRONTEND=noninteractive sh -ec "$rest" >"$root/run.log" 2>&1 || { tail "$root/run.log" >&2; fail "RUN $rest"; } ;;
    ENV) read -ra more <<<"$rest"; environment+=("${more[@]}") ;;
    COPY)
      read -ra words <<<"$rest"
      case ${words[0]} in
        --from=build) strip -o "$root${words[2]}" "$braid"; chmod 755 "$root${words[2]}" ;;
        *) mkdir -p "$(dirname "$root${words[1]}")"; cp -r "$source/${words[0]}" "$root${words[1]}"; chmod -R u=rwX,go=rX "$root${words[1]}" ;;
      esac ;;
    USER) user=$rest ;;
    ENTRYPOINT) entrypoint=$rest ;;
    CMD) command=$rest ;;
    EXPOSE) ;;
    *) fail "$word is not known here" ;;
  esac
done < <(steps)
[[ $user =~ ^[1-9][0-9]*:[1-9][0-9]*$ ]] || fail "the image runs as '$user'; pods need a user and a group by number, not root's"
echo "image_test.sh: $(du -sm --one-file-system --exclude=./var/cache --exclude=./var/lib/apt "$root" | cut -f1) MB"

# As a pod runs it: nothing writable but /tmp, no capabilities. The mounts end with the server.
log=$(mktemp)
as_container() {
  exec unshare -m sh -ec 'root=$1; shift; mount --rbind "$root" "$root"; mount -o remount,bind,ro "$root"; mount -t tmpfs tmpfs "$root/tmp"; exec chroot "$root" "$@"' sh "$root" \
    setpriv --reuid "${user%:*}" --regid "${user#*:}" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all \
    env HOME=/tmp "${environment[@]}" sh -c "exec $entrypoint $command --host 127.0.0.1 --port 8474"
}
as_container >"$log" 2>&1 &
server=$!
await_server 8474 "$log"
ask 8474
end_server
rm "$log"
echo "image_test.sh: $(basename "$dockerfile"): built, answered, ended"
