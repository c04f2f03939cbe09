#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the kernels and what they stand on for ARM and runs their tests under QEMU's user mode.
#   tools/check_aarch64.sh [REGEX]   REGEX: the tests to run, as ctest -R
# Needs Debian's g++-aarch64-linux-gnu, qemu-user and libgmock-dev (its sources of GoogleTest).
set -euo pipefail
cd "$(dirname "$0")/.."

for program in aarch64-linux-gnu-g++ qemu-aarch64 ninja; do
  command -v "$program" >/dev/null && continue
  echo "check_aarch64.sh: $program is missing; apt-get install g++-aarch64-linux-gnu qemu-user ninja-build" >&2
  exit 1
done
cmake -S tools/aarch64 -B build/aarch64 -G Ninja -DCMAKE_BUILD_TYPE=Release \
      -DCMAKE_TOOLCHAIN_FILE="$PWD/tools/aarch64/toolchain.cmake"
cmake --build build/aarch64
# An emulator has no limits worth measuring: without the tests that do.
ctest --test-dir build/aarch64 -E Machine --output-on-failure --no-tests=error ${1:+-R "$1"}
