#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Braid beside llama.cpp: prefill and decode of one shape, in turns, on one machine.

    python3 -m venv build/peers
    CMAKE_ARGS=-DGGML_NATIVE=on build/peers/bin/pip install --no-binary llama-cpp-python llama-cpp-python
    build/peers/bin/python bench/peers/llamacpp.py [--only lexicon-30m] [--json FILE]

First every way to run the peer (weight type, layout, threads, flash attention) is timed shortly, and
the fastest of each case is kept. Then Braid and the peer take turns. The peer's weights are random.
"""
import argparse
import ctypes
import dataclasses
import itertools
import json
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import llama_cpp as peer

import gguf

WINDOWS = 5  # of a case, as in braid bench engine
ROOT = pathlib.Path(__file__).resolve().parents[2]


class Case(NamedTuple):
    name: str
    batch: int


@dataclasses.dataclass(frozen=True)
class Shape:
    folder: str
    types: tuple
    batches: tuple
    flags: tuple = ()
    layouts: tuple = gguf.LAYOUTS

    def cases(self, prompt):
        return [Case("prefill", prompt), *(Case("decode", batch) for batch in self.batches)]


SHAPES = {
    "lexicon-30m": Shape("models/lexicon-30m", ("bf16", "f16", "q8_0"), (1, 8, 64)),
    "lite4-fp8": Shape("bench/shapes/lite4-fp8", ("q8_0",), (1, 8, 32), ("--load-format", "dummy")),
    "gpt-oss4-mxfp4": Shape("bench/shapes/gpt-oss4-mxfp4", ("bf16", "q8_0"), (1, 8), ("--load-format", "dummy"), ("expanded",)),
}


class Variant(NamedTuple):
    """One way to run the peer."""
    type: str
    layout: str
    threads: int
    flash: bool

    def __str__(self):
        return f"{self.type} {self.layout} t={self.threads}{' flash' if self.flash else ''}"


class Model:
    """A GGUF file loaded by the peer into anonymous memory."""

    def __init__(self, path):
        params = peer.llama_model_default_params()
        params.load_mode = peer.LLAMA_LOAD_MODE_NONE
        self.handle = peer.llama_model_load_from_file(str(path).encode(), params)
        if not self.handle:
            sys.exit(f"llama.cpp can't load {path}; remove it to have it written anew")
        self.vocabulary = peer.llama_vocab_n_tokens(peer.llama_model_get_vocab(self.handle))

    def close(self):
        peer.llama_model_free(self.handle)


class Context:
    """A cache of `sequences` sequences; steps of a batch are timed from decode to readable logits."""

    def __init__(self, model, variant, sequences, tokens):
        params = peer.llama_context_default_params()
        params.n_seq_max = sequences
        params.n_ctx = sequences * -(-tokens // 256) * 256
        params.n_batch = params.n_ubatch = max(512, sequences)
        params.n_threads = params.n_threads_batch = variant.threads
        params.flash_attn_type = peer.LLAMA_FLASH_ATTN_TYPE_ENABLED if variant.flash else peer.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.handle = peer.llama_init_from_model(model.handle, params)
        if not self.handle:
            sys.exit(f"llama.cpp makes no context for {variant}, {sequences} sequences of {tokens} tokens")
        self.memory = peer.llama_get_memory(self.handle)
        self.batch = peer.llama_batch_init(params.n_batch, 0, 1)
        self.random = random.Random(sequences)
        self.vocabulary = model.vocabulary

    def close(self):
        peer.llama_batch_free(self.batch)
        peer.llama_free(self.handle)

    def step(self, places):
        """Runs the (sequence, position, wants logits) of `places`; returns the seconds it took."""
        self.batch.n_tokens = len(places)
        for i, (sequence, position, wanted) in enumerate(places):
            self.batch.token[i] = self.random.randrange(self.vocabulary)
            self.batch.pos[i] = position
            self.batch.n_seq_id[i] = 1
            self.batch.seq_id[i][0] = sequence
            self.batch.logits[i] = wanted
        begin = time.perf_counter()
        status = peer.llama_decode(self.handle, self.batch)
        peer.llama_synchronize(self.handle)
        peer.llama_get_logits_ith(self.handle, len(places) - 1)
        seconds = time.perf_counter() - begin
        if status != 0:
            sys.exit(f"llama_decode answered {status} for {len(places)} tokens")
        return seconds

    def forget(self, position):
        peer.llama_memory_seq_rm(self.memory, -1, position, -1)

    def copy_first(self, sequence):
        peer.llama_memory_seq_cp(self.memory, 0, sequence, -1, -1)


def rate(tokens, window, windows, step):
    """Tokens per second of step(), which returns its seconds: the median of windows of so many seconds."""
    step()
    rates = []
    for _ in range(windows):
        spent, steps = 0.0, 0
        while spent < window:
            spent += step()
            steps += 1
        rates.append(steps * tokens / spent)
    return statistics.median(rates)


def measure_peer(model, variant, case, args, windows):
    prefill = case.name == "prefill"
    sequences = 1 if prefill else case.batch
    context = Context(model, variant, sequences, max(args.prompt, args.context + 1) if prefill else args.context + 1)

    def prompt():
        context.forget(0)
        return context.step([(0, p, p == args.prompt - 1) for p in range(args.prompt)])

    def decode():
        context.forget(args.context)
        return context.step([(s, args.context, True) for s in range(sequences)])

    if not prefill:
        context.step([(0, p, p == args.context - 1) for p in range(args.context)])
        for s in range(1, sequences):
            context.copy_first(s)
    found = rate(case.batch, args.seconds / WINDOWS, windows, prompt if prefill else decode)
    context.close()
    return found


class Peer:
    """The peer's models of one shape; one is loaded at a time."""

    def __init__(self, name, shape, args):
        self.name, self.shape, self.args = name, shape, args
        self.loaded = None, None

    def model(self, variant):
        path = self.args.models / f"{self.name}-{variant.type}-{variant.layout}.gguf"
        if self.loaded[0] != path:
            self.close()
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                gguf.write(ROOT / self.shape.folder, path, variant.type, variant.layout)
            self.loaded = path, Model(path)
        return self.loaded[1]

    def close(self):
        if self.loaded[1]:
            self.loaded[1].close()
        self.loaded = None, None

    def survey(self, cases):
        """The fastest variant of each case."""
        best = {case: (0.0, None) for case in cases}
        variants = itertools.product(self.shape.types, [l for l in self.args.layouts if l in self.shape.layouts], self.args.threads, (False, True))
        for variant in itertools.starmap(Variant, variants):
            model = self.model(variant)
            rates = {case: measure_peer(model, variant, case, self.args, 1) for case in cases}
            print(f"  {str(variant):<30}" + "".join(f"{r:10.1f}" for r in rates.values()), flush=True)
            for case, r in rates.items():
                best[case] = max(best[case], (r, variant))
        return {case: variant for case, (_, variant) in best.items()}

    def measure(self, best):
        """Tokens per second of each case by its variant; loads each model once."""
        order = sorted(best, key=lambda case: best[case])
        return {case: measure_peer(self.model(best[case]), best[case], case, self.args, WINDOWS) for case in order}


def measure_braid(shape, args):
    """{case: (tokens per second, floor)} of `braid bench engine`."""
    with tempfile.NamedTemporaryFile("r") as lines:
        command = [args.braid, "bench", "engine", str(ROOT / shape.folder), "--batch", ",".join(map(str, shape.batches)),
                   "--prompt", str(args.prompt), "--context", str(args.context), "--seconds", str(args.seconds),
                   "--json", lines.name, "--cpu-threads", str(args.braid_threads), *shape.flags]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")
        rows = [json.loads(line) for line in lines]
    return {Case(row["case"], row["batch"]): (row["tokens_per_s"], row["floor_tokens_per_s"]) for row in rows}


def compare(name, shape, args):
    """One result a case of this shape."""
    cases, ours = shape.cases(args.prompt), Peer(name, shape, args)
    print(f"{name}: the peer's variants, tokens/s of " + ", ".join(f"{c.name} {c.batch}" for c in cases))
    best = ours.survey(cases)
    rounds = [(measure_braid(shape, args), ours.measure(best)) for _ in range(args.rounds)]
    ours.close()
    results = []
    for case in cases if rounds else ():
        braid = [b[case][0] for b, _ in rounds]
        theirs = [p[case] for _, p in rounds]
        share = statistics.median(b[case][0] / b[case][1] for b, _ in rounds)
        results.append({"shape": name, "case": case.name, "batch": case.batch, "braid": statistics.median(braid),
                        "peer": statistics.median(theirs), "ratio": statistics.median(b / p for b, p in zip(braid, theirs)),
                        "floor_share": share, "variant": str(best[case]), "braid_rounds": braid, "peer_rounds": theirs})
    return results


def show(results):
    print(f"\n{'shape':<12} {'case':<8}{'batch':>6}{'braid':>9}{'of floor':>10}{'llama.cpp':>11}{'ratio':>8}  llama.cpp's best")
    for r in results:
        print(f"{r['shape']:<12} {r['case']:<8}{r['batch']:>6}{r['braid']:>9.0f}{r['floor_share']:>10.1%}{r['peer']:>11.0f}"
              f"{r['ratio']:>8.2f}  {r['variant']}")


@peer.llama_log_callback
def quiet(level, message, _):
    """Passes on errors only."""
    if level == 4:
        sys.stderr.write(message.decode(errors="replace"))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=SHAPES, action="append", help="shape to measure; may be repeated (default: all)")
    parser.add_argument("--prompt", type=int, default=512, help="tokens of a prefill")
    parser.add_argument("--context", type=int, default=32, help="tokens in the cache when decoding")
    parser.add_argument("--threads", type=lambda s: [int(t) for t in s.split(",")], default=[1, 2], help="thread counts of the peer, as 1,2")
    parser.add_argument("--braid-threads", type=int, default=0, help="threads of Braid (default: all)")
    parser.add_argument("--layouts", type=lambda s: s.split(","), default=list(gguf.LAYOUTS), help="layouts of its files, as latent,expanded")
    parser.add_argument("--seconds", type=float, default=0.5, help="time spent on each case")
    parser.add_argument("--rounds", type=int, default=3, help="turns of Braid and the peer")
    parser.add_argument("--braid", default=str(ROOT / "build/release/braid"), help="the braid binary")
    parser.add_argument("--models", type=pathlib.Path, default=ROOT / "build/peers-models", help="folder for the peer's models")
    parser.add_argument("--json", type=pathlib.Path, help="file for one JSON line a case")
    return parser.parse_args()


def main():
    args = arguments()
    peer.llama_log_set(quiet, ctypes.c_void_p())
    peer.llama_backend_init()
    print(f"llama-cpp-python {peer.__version__}, {peer.llama_print_system_info().decode()}")
    results = []
    for name in args.only or SHAPES:
        results += compare(name, SHAPES[name], args)
    show(results)
    if args.json:
        args.json.write_text("".join(json.dumps(r) + "\n" for r in results))


if __name__ == "__main__":
    main()
