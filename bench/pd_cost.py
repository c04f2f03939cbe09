#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What taking prefill and decode apart adds to the first token of a lone request, behind the same router.

usage: pd_cost.py [BRAID [MODEL]]
"""
import json
import os
import random
import statistics
import sys
import tempfile
import time
import urllib.request

BRAID = sys.argv[1] if len(sys.argv) > 1 else "build/release/braid"
MODEL = sys.argv[2] if len(sys.argv) > 2 else "models/lexicon-30m"
sys.argv[1:] = [BRAID, MODEL]
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../tests/e2e"))
from route_pd_test import CONFIG, engine  # noqa: E402
from route_test import Router, address  # noqa: E402
from server import DEADLINE_S, Server, wait_until  # noqa: E402

LENGTHS = (16, 64, 256, 1024)
ROUNDS = 40


def first_token_ms(url, prompt):
    body = {"prompt": prompt, "max_tokens": 2, "temperature": 0, "ignore_eos": True, "stream": True}
    request = urllib.request.Request(url + "/v1/completions", data=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    begun = time.perf_counter()
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
        answer.readline()
        took = time.perf_counter() - begun
        answer.read()
    return took * 1e3


def main():
    alone, prefill, decode = Server(), engine("kv_producer"), engine("kv_consumer")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(CONFIG)
        file.flush()
        plain = Router("--endpoints", address(alone))
        divided = Router("--config-file", file.name, "--endpoints", f"{address(prefill)};role=prefill,{address(decode)};role=decode")
    try:
        wait_until(lambda: plain.usable(1) and divided.usable(2), "the engines are there")
        words = random.Random(1)
        print("| prompt tokens | one engine ms | prefill apart ms | added ms | of it the transfer ms | MB |\n|---|---|---|---|---|---|")
        for length in LENGTHS:
            before = [decode.metric("vllm:nixl_xfer_time_seconds_sum"), decode.metric("vllm:nixl_bytes_transferred_sum")]
            times = {plain: [], divided: []}
            for _ in range(ROUNDS):
                prompt = [words.randrange(10, 4000) for _ in range(length)]
                for router, took in times.items():
                    took.append(first_token_ms(router.url, prompt))
            one, two = (statistics.median(took) for took in times.values())
            after = [decode.metric("vllm:nixl_xfer_time_seconds_sum"), decode.metric("vllm:nixl_bytes_transferred_sum")]
            seconds, moved = ((b - a) / ROUNDS for a, b in zip(before, after))
            print(f"| {length} | {one:.2f} | {two:.2f} | {two - one:.2f} | {seconds * 1e3:.2f} | {moved * 1e-6:.2f} |", flush=True)
    finally:
        for process in (plain, divided, alone, prefill, decode):
            process.end()


if __name__ == "__main__":
    main()
