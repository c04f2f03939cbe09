#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Times the engine at full depth on this machine's GPU, with dummy weights: prefill of eight prompts of 4096 (four where eight
# do not fit 80 GB), decode steps behind prompts of 512.
#   bench/gpu/engine.sh [BRAID [SHAPE...]]    BRAID: build/cuda/braid, or "bundle/run braid"; SHAPE: all of the table in bench/results
set -uo pipefail
braid=${1:-build/cuda/braid}
[ $# -eq 0 ] || shift
declare -A batches=([v2-lite-bf16]=1,32,256 [qwen3-30b-bf16]=1,32,128 [qwen3-30b-fp8]=1,32,256)
declare -A prompts=([qwen3-30b-bf16]=4)
[ $# -gt 0 ] || set -- v2-lite-bf16 qwen3-30b-bf16 qwen3-30b-fp8
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -1
failed=0
for shape in "$@"; do
  echo "$shape"
  timeout 200 $braid bench engine "bench/shapes/$shape" --load-format dummy --device cuda --prompt 4096 --prompts "${prompts[$shape]:-8}" --context 512 \
    --batch "${batches[$shape]}" || failed=1
done
exit $failed
