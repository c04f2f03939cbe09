#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Time of the GEMM kernels alone, without their launch, as Nsight Compute reads it:

  bench/gpu/gemm_kernel_times.py [BENCH]    BENCH: build/cuda/src/backend/cuda/cuda_gemm_bench

Each case is launched three times with caches flushed; printed is the shortest. `theirs` are kernel
times too (CUPTI), so this is the comparison without the few microseconds that events add.
"""
import csv
import subprocess
import sys

LAUNCHES = 3


def main():
    bench = sys.argv[1] if len(sys.argv) > 1 else "build/cuda/src/backend/cuda/cuda_gemm_bench"
    command = ["ncu", "--clock-control", "none", "--metrics", "gpu__time_duration.sum", "--csv",
               "-k", "regex:gemm_kernel", bench, "--launch"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    cases = [[cell.strip() for cell in line.split("|")] for line in output
             if line.startswith(("| fp8", "| bf16"))]
    times = [float(row[-1].replace(",", "")) / 1000 for row in csv.reader(output)
             if len(row) > 10 and row[-2] == "ns"]
    if len(times) != LAUNCHES * len(cases):
        raise SystemExit(f"{len(times)} kernels were timed for {len(cases)} cases")
    print("| case | kernel us | theirs us | ratio |\n|---|---|---|---|")
    for index, case in enumerate(cases):
        shortest = min(times[LAUNCHES * index:LAUNCHES * (index + 1)])
        theirs = float(case[6])
        print(f"| {case[1]} | {shortest:.1f} | {theirs or '-'} | "
              f"{f'{theirs / shortest:.3f}' if theirs else '-'} |")


if __name__ == "__main__":
    main()
