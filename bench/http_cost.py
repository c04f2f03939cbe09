#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What HTTP and scheduling cost beside the model, all measured in one run.

usage: http_cost.py [BRAID [MODEL]]

Clients and server share the machine, so the server's processor time by thread is told beside wall time.
"""
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

BRAID = sys.argv[1] if len(sys.argv) > 1 else "build/release/braid"
MODEL = sys.argv[2] if len(sys.argv) > 2 else "models/lexicon-30m"
DEADLINE_S = 60


class Server:
    def __init__(self, *flags):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.log = tempfile.TemporaryFile("w+")
        self.began = time.monotonic()
        self.process = subprocess.Popen([BRAID, "serve", MODEL, "--host", "127.0.0.1", "--port", str(self.port), *flags], stderr=self.log)
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(DEADLINE_S)

    def connect(self):
        while time.monotonic() < self.began + DEADLINE_S:
            try:
                return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S)
            except ConnectionRefusedError:
                time.sleep(0.002)
        raise SystemExit("the server does not listen")

    def first_token(self):
        """Seconds from the start of the process to the first token of an answer."""
        body = b'{"messages":[{"role":"user","content":"What is a river?"}],"stream":true}'
        with self.connect() as s:
            s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            got = b""
            while got.count(b'"content":"') < 2:
                part = s.recv(4096)
                got += part
                if not part or not got.startswith(b"HTTP/1.1 200"[:len(got)]):
                    raise SystemExit(f"no answer: {got}")
        return time.monotonic() - self.began

    def wait(self):
        self.connect().close()
        return self

    def metrics(self):
        text = urllib.request.urlopen(self.url + "/metrics", timeout=DEADLINE_S).read().decode()
        return {line.split("{")[0]: float(line.split()[-1]) for line in text.splitlines() if "{" in line and "le=" not in line}, text

    def thread_seconds(self):
        """Processor seconds of each thread, in order of creation."""
        seconds = {}
        folder = f"/proc/{self.process.pid}/task"
        for task in sorted(os.listdir(folder), key=int):
            with open(f"{folder}/{task}/comm") as name, open(f"{folder}/{task}/schedstat") as stat:
                seconds[f"{task} {name.read().strip()}"] = int(stat.read().split()[0]) / 1e9
        return seconds

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return 1024 * int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1))

    def weight_bytes(self):
        self.log.seek(0)
        return int(re.search(r"weight_mib=(\d+)", self.log.read()).group(1)) << 20

    def load(self, concurrency, prompts, prompt_tokens, output_tokens):
        """Figures of one closed loop, with the server's own times and processor time."""
        before, threads, clients = self.metrics()[0], self.thread_seconds(), os.times().children_user + os.times().children_system
        with tempfile.NamedTemporaryFile() as file:
            subprocess.run([BRAID, "bench", "serve", self.url, "--max-concurrency", str(concurrency), "--num-prompts", str(prompts),
                            "--random-input-len", str(prompt_tokens), "--random-output-len", str(output_tokens), "--json", file.name],
                           check=True, capture_output=True, timeout=10 * DEADLINE_S)
            figures = json.load(file)
        after = self.metrics()[0]
        figures["client_seconds"] = os.times().children_user + os.times().children_system - clients
        figures["threads"] = {name: s - threads.get(name, 0) for name, s in self.thread_seconds().items()}
        figures["server"] = {name: after[name] - before.get(name, 0) for name in after}
        return figures


def start_to_first_token():
    times = []
    for _ in range(5):
        with Server() as server:
            times.append(server.first_token())
    return statistics.median(times)


def one_at_a_time(server):
    f = server.load(1, 1000, 8, 1)
    inside = f["server"]["vllm:request_inference_time_seconds_sum"] / f["server"]["vllm:request_inference_time_seconds_count"]
    return f["e2e_ms"]["mean"] * 1e3, inside * 1e6, f["threads"]


def print_threads(threads, count, unit):
    total = sum(threads.values())
    for name, seconds in threads.items():
        print(f"  {name:18s}        {1e6 * seconds / count:8.2f} us of processor time a {unit}, {100 * seconds / total:.1f} % of the server's")


def engine_alone(batch):
    out = subprocess.run([BRAID, "bench", "engine", MODEL, "--batch", str(batch), "--prompt", "64"], check=True, capture_output=True, text=True)
    return float(re.search(rf"decode +{batch} +(\d+)", out.stdout).group(1))


def main():
    print(f"start to first token        {start_to_first_token():8.3f} s")
    with Server("--num-gpu-blocks-override", "1024").wait() as server:
        server.load(64, 64, 8, 16)
        e2e, inside, threads = one_at_a_time(server)
        print(f"one request at a time       {e2e - inside:8.1f} us beside the model's {inside:.0f} us")
        print_threads(threads, 1000, "request")
        alone = engine_alone(64)
        f = server.load(64, 256, 1, 96)
        again = engine_alone(64)
        print(f"64 streams over HTTP        {f['output_tokens_per_s']:8.0f} tokens/s; engine alone, batch 64: {alone:.0f} before, {again:.0f} after")
        print_threads(f["threads"], 256 * 96, "token")
        print(f"  the clients               {1e6 * f['client_seconds'] / (256 * 96):8.2f} us of processor time a token")
        cache = int(re.search(r'kv_cache_memory_bytes="(\d+)"', server.metrics()[1]).group(1))
        held = server.weight_bytes() + cache
        beside = server.resident_bytes() - held
        print(f"memory beside weights and a full cache {beside >> 20} MiB; weights {server.weight_bytes() >> 20} MiB, cache {cache >> 20} MiB here")


if __name__ == "__main__":
    main()
