#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs the tests of the CUDA backend on this machine's GPU and keeps what they said:
#   bench/gpu/test.sh [BUILD] [RESULTS]    BUILD: build/cuda; RESULTS: bench/results
set -uo pipefail
build=${1:-build/cuda}
results=${2:-bench/results}
card=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -1)
[ -n "$card" ] || { echo "test.sh: nvidia-smi shows no GPU here" >&2; exit 1; }
log=$results/gpu-tests-$(echo "$card" | tr ' A-Z' '-a-z').txt
failed=0
{
  echo "$card, driver $(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -1)"
  for test in "$build"/src/backend/cuda/backend_cuda_test "$build"/tests/golden/golden_cuda_test "$build"/tests/ranks/exchange_cuda_test; do
    [ -x "$test" ] || continue
    "$test" --gtest_brief=1 || failed=1
  done
  "$build"/src/backend/cuda/cuda_gemm_bench --check || failed=1
  if [ "$(nvidia-smi --list-gpus | wc -l)" -ge 2 ]; then
    "$build"/tests/ranks/rebalance_cuda_test --gtest_brief=1 || failed=1
    python3 tests/e2e/gpu_ranks_test.py "$build"/braid models/lexicon-30m "$build"/golden/models/{deepseek-v3,qwen3-moe,mixtral,gpt-oss,llama4} || failed=1
  fi
} 2>&1 | tee "$log"
exit $((failed | PIPESTATUS[0]))
