#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What expert load balancing gains when some experts are asked far more often than others.

usage: eplb_throughput.py [--braid BRAID] [--zipf 1.0] [--shuffled] [--redundant 16] [--rounds 2]

Makes a model of random weights whose router prefers experts by Zipf's law: the first is the most popular, so that without
balancing the first rank has most of the work; --shuffled: in another order in each layer. More than four fifths of its FLOP are
in the experts. Serves it by two ranks of one thread, with and without --enable-eplb in turns, under the same load of long prompts.
Beside prompt tokens per second it tells them per processor second of the busier rank: what two free processors would give,
whatever else the machine does. Needs numpy and safetensors.
"""
import argparse
import json
import math
import os
import re
import socket
import subprocess
import tempfile
import time
import urllib.request

import numpy as np
from safetensors.numpy import save_file

HIDDEN, INTER, EXPERTS, TOP_K, LAYERS, VOCAB, HEADS = 512, 256, 64, 8, 4, 1024, 4
Q_LORA, KV_LORA, ROPE, NOPE, V = 64, 64, 16, 32, 32
CONFIG = {
    "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "vocab_size": VOCAB, "hidden_size": HIDDEN,
    "intermediate_size": INTER, "moe_intermediate_size": INTER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS, "n_routed_experts": EXPERTS, "num_experts_per_tok": TOP_K, "n_shared_experts": 1,
    "first_k_dense_replace": 0, "moe_layer_freq": 1, "n_group": 1, "topk_group": 1, "norm_topk_prob": True,
    "routed_scaling_factor": 1.0, "scoring_func": "sigmoid", "topk_method": "noaux_tc", "q_lora_rank": Q_LORA,
    "kv_lora_rank": KV_LORA, "qk_rope_head_dim": ROPE, "qk_nope_head_dim": NOPE, "v_head_dim": V, "rms_norm_eps": 1e-6,
    "rope_theta": 10000, "max_position_embeddings": 4096, "eos_token_id": 1, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "hidden_act": "silu", "num_nextn_predict_layers": 0,
}
LOAD = ["--num-prompts", "64", "--max-concurrency", "16", "--random-input-len", "512", "--random-output-len", "2"]
DEADLINE_S = 60


def expert_share():
    """Of the FLOP of a prompt's token, without attention over keys."""
    expert = 3 * HIDDEN * INTER
    attention = HIDDEN * (Q_LORA + KV_LORA + ROPE) + Q_LORA * HEADS * (NOPE + ROPE) + KV_LORA * HEADS * (NOPE + V) + HEADS * V * HIDDEN
    return TOP_K * expert / ((TOP_K + 1) * expert + HIDDEN * EXPERTS + attention)


def make_model(folder, zipf, shuffled, seed=0):
    random = np.random.default_rng(seed)

    def matrix(rows, cols):
        return (random.standard_normal((rows, cols), dtype=np.float32) / math.sqrt(cols)).astype(np.float16)

    tensors = {"model.embed_tokens.weight": matrix(VOCAB, HIDDEN) * np.float16(16), "lm_head.weight": matrix(VOCAB, HIDDEN),
               "model.norm.weight": np.ones(HIDDEN, np.float16)}
    for layer in range(LAYERS):
        p = f"model.layers.{layer}."
        for name, size in (("input_layernorm", HIDDEN), ("post_attention_layernorm", HIDDEN), ("self_attn.q_a_layernorm", Q_LORA),
                           ("self_attn.kv_a_layernorm", KV_LORA)):
            tensors[p + name + ".weight"] = np.ones(size, np.float16)
        for name, rows, cols in (("q_a_proj", Q_LORA, HIDDEN), ("q_b_proj", HEADS * (NOPE + ROPE), Q_LORA),
                                 ("kv_a_proj_with_mqa", KV_LORA + ROPE, HIDDEN), ("kv_b_proj", HEADS * (NOPE + V), KV_LORA),
                                 ("o_proj", HIDDEN, HEADS * V)):
            tensors[p + f"self_attn.{name}.weight"] = matrix(rows, cols)
        mlps = [f"experts.{e}" for e in range(EXPERTS)] + ["shared_experts"]
        for mlp in mlps:
            for name, rows, cols in (("gate_proj", INTER, HIDDEN), ("up_proj", INTER, HIDDEN), ("down_proj", HIDDEN, INTER)):
                tensors[p + f"mlp.{mlp}.{name}.weight"] = matrix(rows, cols)
        # Scores are sigmoids of small logits, so nearly normal with deviation 1 / 8; a bias that falls with the logarithm of an
        # expert's place makes its share of the rows fall by Zipf's law.
        tensors[p + "mlp.gate.weight"] = matrix(EXPERTS, HIDDEN) * np.float16(0.5)
        order = random.permutation(EXPERTS) if shuffled else np.arange(EXPERTS)
        tensors[p + "mlp.gate.e_score_correction_bias"] = (-zipf * np.log(order + 1.0) / 8 / 1.28).astype(np.float32)
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(CONFIG, file)
    save_file(tensors, os.path.join(folder, "model.safetensors"))


class Server:
    def __init__(self, braid, model, *flags):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [braid, "serve", model, "--skip-tokenizer-init", "--port", str(port), "--data-parallel-size", "2", "--enable-expert-parallel",
             "--no-enable-prefix-caching", "--max-num-batched-tokens", "512", "--log-level", "warning",
             "--log-format", "json", *flags])
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(self.url + "/health", timeout=5)
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit("the server does not listen")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(DEADLINE_S)

    def processor_seconds(self):
        """So far, of each rank."""
        pid = self.process.pid
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            ranks = file.read().split()
        times = []
        for rank in ranks:
            with open(f"/proc/{rank}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            times.append((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))
        return times

    def metrics(self):
        return urllib.request.urlopen(self.url + "/metrics", timeout=30).read().decode()


def samples(text, name):
    return [float(v) for v in re.findall(rf"^{name}{{[^}}]*}} (\S+)$", text, re.MULTILINE)]


def prompt_rates(braid, server):
    """Prompt tokens per second, and per processor second of the busier rank."""
    with tempfile.NamedTemporaryFile("r") as figures:
        used, before, begin = server.processor_seconds(), sum(samples(server.metrics(), "vllm:prompt_tokens_total")), time.monotonic()
        subprocess.run([braid, "bench", "serve", server.url, *LOAD, "--json", figures.name], check=True, capture_output=True)
        tokens = sum(samples(server.metrics(), "vllm:prompt_tokens_total")) - before
        seconds = time.monotonic() - begin
        return tokens / seconds, tokens / max(b - a for a, b in zip(used, server.processor_seconds()))


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--braid", default="build/release/braid")
    options.add_argument("--zipf", type=float, default=1.0)
    options.add_argument("--shuffled", action="store_true")
    options.add_argument("--redundant", type=int, default=EXPERTS // 4)
    options.add_argument("--rounds", type=int, default=2)
    args = options.parse_args()
    print(f"experts: {100 * expert_share():.0f} % of the FLOP, Zipf exponent {args.zipf}{', shuffled' if args.shuffled else ''}")
    with tempfile.TemporaryDirectory() as folder:
        make_model(folder, args.zipf, args.shuffled)
        variants = {
            "no balancing": [],
            "balanced, 0 redundant": ["--enable-eplb", "--eplb-config", '{"window_size": 16, "step_interval": 16}'],
            f"balanced, {args.redundant} redundant": ["--enable-eplb", "--eplb-config", json.dumps(
                {"window_size": 16, "step_interval": 16, "num_redundant_experts": args.redundant})],
        }
        rates = {name: [] for name in variants}
        for _ in range(args.rounds):
            for name, flags in variants.items():
                with Server(args.braid, folder, *flags) as server:
                    prompt_rates(args.braid, server)  # warm, and rearranged
                    rates[name].append(prompt_rates(args.braid, server))
                    text = server.metrics()
                rows = samples(text, "braid:eplb_rank_rows")
                pauses = samples(text, "braid:eplb_pause_seconds_sum"), samples(text, "braid:eplb_pause_seconds_count")
                balance = samples(text, "braid:eplb_balancedness")
                told = f"balancedness {min(balance):.3f} to {max(balance):.3f}, rows {rows}, " if balance else ""
                told += f"mean pause {1e6 * sum(pauses[0]) / sum(pauses[1]):.0f} us of {sum(pauses[1]) / 2:.0f} steps" if balance else ""
                wall, processor = rates[name][-1]
                print(f"{name:24} {wall:9.0f} prompt tokens/s {processor:9.0f} per processor second  {told}", flush=True)
        for name, values in rates.items():
            best, base = (tuple(map(max, zip(*v))) for v in (values, rates["no balancing"]))
            print(f"{name:24} best {best[0]:9.0f} {best[0] / base[0]:5.2f}x {best[1]:9.0f} {best[1] / base[1]:5.2f}x")


if __name__ == "__main__":
    main()
