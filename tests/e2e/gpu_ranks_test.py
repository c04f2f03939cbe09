# SPDX-License-Identifier: Apache-2.0
"""Experts spread over two GPUs give the text that one GPU gives, with --deterministic every bit of its log-probabilities, also when
a rank is killed while it serves.
Needs two GPUs and nothing but Python itself. usage: gpu_ranks_test.py BRAID MODEL..."""
import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request

BRAID, MODELS = sys.argv[1], sys.argv[2:]
DEADLINE_S = 90
PROMPTS = [[(7 * i + 3 * p) % 200 + 5 for i in range(3 + 5 * p)] for p in range(12)]
EXPERTS = ["--data-parallel-size", "2", "--enable-expert-parallel"]
BALANCED = ["--enable-eplb", "--eplb-config", '{"window_size": 4, "step_interval": 4, "num_redundant_experts": 2}']
OVERLAPPED = ["--enable-dbo", "--dbo-decode-token-threshold", "2", "--dbo-prefill-token-threshold", "2"]


class Server:
    def __init__(self, model, *flags):
        self.process = subprocess.Popen([BRAID, "serve", model, "--host", "127.0.0.1", "--port", "0", "--device", "cuda", "--max-model-len", "256",
                                         "--skip-tokenizer-init", *flags],
                                        stderr=subprocess.PIPE, text=True)
        self.log, self.url, ready = [], None, threading.Event()

        def read():
            for line in self.process.stderr:
                self.log.append(line)
                if found := re.search(r"url=(http://\S+:\d+)", line):
                    self.url = found.group(1)
                    ready.set()
            ready.set()
        threading.Thread(target=read, daemon=True).start()
        ready.wait(DEADLINE_S)
        if not self.url:
            self.stop()
            raise SystemExit("the server did not start:\n" + "".join(self.log))

    def ask(self, prompt):
        body = json.dumps({"model": "m", "prompt": prompt, "max_tokens": 40, "temperature": 0, "ignore_eos": True, "return_token_ids": True,
                           "logprobs": 1, "return_tokens_as_token_ids": True})
        request = urllib.request.Request(self.url + "/v1/completions", body.encode(), {"Content-Type": "application/json"})
        choice = json.load(urllib.request.urlopen(request, timeout=DEADLINE_S))["choices"][0]
        return choice["token_ids"], choice["logprobs"]["token_logprobs"]

    def answers(self):
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            return list(pool.map(self.ask, PROMPTS))

    def sum_of(self, metric):
        text = urllib.request.urlopen(self.url + "/metrics", timeout=DEADLINE_S).read().decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if re.match(metric + r"[{ ]", line))

    def kill_a_rank(self):
        children = [int(p) for p in os.listdir("/proc") if p.isdigit() and self.parent_of(p) == self.process.pid]
        os.kill(max(children), signal.SIGKILL)

    @staticmethod
    def parent_of(pid):
        try:
            with open(f"/proc/{pid}/stat") as f:
                return int(f.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            return 0

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


def answers(model, *flags):
    server = Server(model, *flags)
    try:
        return server.answers(), [server.sum_of("braid:" + m) for m in ("eplb_moved_bytes_total", "eplb_stopped", "dbo_steps_total")]
    except Exception:
        sys.stderr.write("".join(server.log))
        raise
    finally:
        server.stop()


def main():
    failed = []

    def check(what, right):
        print(f"{'ok' if right else 'FAILED'}: {what}", flush=True)
        failed.extend([] if right else [what])
    for model in MODELS:
        name = os.path.basename(model)
        alone, _ = answers(model, "--served-model-name", "m")
        for flags in (["--deterministic"], ["--deterministic", "--all2all-backend", "high_throughput"],
                      ["--deterministic", *BALANCED], ["--deterministic", *OVERLAPPED], ["--all2all-payload", "exact"], []):
            got, sums = answers(model, "--served-model-name", "m", *EXPERTS, *flags)
            texts = sum(a[0] == b[0] for a, b in zip(alone, got))
            bits = sum(a == b for a, b in zip(alone, got))
            what = f"{name} {' '.join(flags) or 'as it is'}: {texts} of {len(alone)} texts are those of one GPU, {bits} in every bit"
            check(what, bits == len(alone) or "--deterministic" not in flags)
            if "--enable-eplb" in flags:
                check(f"{name}: {sums[0]:.0f} bytes of experts moved meanwhile, balancing stopped {sums[1]:.0f} times", sums[0] > 0 and sums[1] == 0)
            if "--enable-dbo" in flags:
                check(f"{name}: {sums[2]:.0f} steps in two halves", sums[2] > 0)
    server = Server(MODELS[0], "--served-model-name", "m", *EXPERTS, "--deterministic")
    try:
        before = server.answers()
        server.kill_a_rank()
        check("after a rank was killed the texts are the same", server.answers() == before)
    except Exception as error:
        check(f"after a rank was killed: {error}\n" + "".join(server.log), False)
    finally:
        server.stop()
    return 1 if failed else 0


sys.exit(main())
