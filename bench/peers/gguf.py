# SPDX-License-Identifier: Apache-2.0
"""Writes a GGUF file of random weights in the shape of a DeepSeek or gpt-oss config.json, for timing only.

    python3 bench/peers/gguf.py MODEL_FOLDER OUT.gguf [--type q8_0] [--layout latent]

Of DeepSeek, a latent file keeps the two halves of kv_b apart, so that attention runs over the latent; an
expanded one keeps kv_b whole, and keys and values of every head are cached. The experts of gpt-oss are
MXFP4, whatever the type of its other weights.
"""
import argparse
import itertools
import json
import os
import pathlib
import random
import struct
from typing import NamedTuple

ALIGNMENT = 32
PATTERN = 32 * 2053  # numbers in a tensor before they repeat; no multiple of any row


class Type(NamedTuple):
    id: int
    block: int        # numbers in a block
    bytes: int        # bytes of a block
    file_type: int    # general.file_type of a file made of it


TYPES = {
    "f32": Type(0, 1, 4, 0),
    "f16": Type(1, 1, 2, 1),
    "bf16": Type(30, 1, 2, 32),
    "q8_0": Type(8, 32, 34, 7),
    "mxfp4": Type(39, 32, 17, 38),
}
LAYOUTS = ("latent", "expanded")


class Tensor(NamedTuple):
    name: str
    dims: tuple       # the contiguous one first
    type: str
    ones: bool = False

    def size(self):
        count = 1
        for d in self.dims:
            count *= d
        t = TYPES[self.type]
        assert self.dims[0] % t.block == 0, f"{self.name}: rows of {self.dims[0]} are no multiple of {t.block}"
        return count // t.block * t.bytes


def text(s):
    return struct.pack("<Q", len(s.encode())) + s.encode()


def value(v):
    if isinstance(v, bool):
        return struct.pack("<I?", 7, v)
    if isinstance(v, int):
        return struct.pack("<II", 4, v)
    if isinstance(v, float):
        return struct.pack("<If", 6, v)
    return struct.pack("<I", 8) + text(v)


def deepseek_metadata(c, layout):
    qk = c["qk_nope_head_dim"] + c["qk_rope_head_dim"]
    latent = layout == "latent"
    own = {
        "vocab_size": c["vocab_size"],
        "block_count": c["num_hidden_layers"],
        "context_length": c["max_position_embeddings"],
        "embedding_length": c["hidden_size"],
        "feed_forward_length": c["intermediate_size"],
        "leading_dense_block_count": c["first_k_dense_replace"],
        "attention.head_count": c["num_attention_heads"],
        "attention.head_count_kv": 1 if latent else c["num_attention_heads"],
        "attention.layer_norm_rms_epsilon": float(c["rms_norm_eps"]),
        "attention.q_lora_rank": c["q_lora_rank"],
        "attention.kv_lora_rank": c["kv_lora_rank"],
        "attention.key_length": c["kv_lora_rank"] + c["qk_rope_head_dim"] if latent else qk,
        "attention.value_length": c["kv_lora_rank"] if latent else c["v_head_dim"],
        "expert_count": c["n_routed_experts"],
        "expert_used_count": c["num_experts_per_tok"],
        "expert_shared_count": c["n_shared_experts"],
        "expert_feed_forward_length": c["moe_intermediate_size"],
        "expert_weights_scale": float(c["routed_scaling_factor"]),
        "expert_weights_norm": bool(c["norm_topk_prob"]),
        "expert_gating_func": {"softmax": 1, "sigmoid": 2}[c["scoring_func"]],
        "rope.dimension_count": c["qk_rope_head_dim"],
        "rope.freq_base": float(c["rope_theta"]),
    }
    if latent:
        own |= {"attention.key_length_mla": qk, "attention.value_length_mla": c["v_head_dim"]}
    if c["n_group"] > 1:
        own |= {"expert_group_count": c["n_group"], "expert_group_used_count": c["topk_group"]}
    if yarn := c.get("rope_scaling"):
        own |= {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": float(yarn["factor"]),
            "rope.scaling.original_context_length": yarn["original_max_position_embeddings"],
            "rope.scaling.yarn_log_multiplier": 0.1 * yarn["mscale_all_dim"],
        }
    return own


def gpt_oss_metadata(c):
    yarn = c["rope_scaling"]
    return {
        "vocab_size": c["vocab_size"],
        "block_count": c["num_hidden_layers"],
        "context_length": c["max_position_embeddings"],
        "embedding_length": c["hidden_size"],
        "feed_forward_length": c["intermediate_size"],
        "expert_feed_forward_length": c["intermediate_size"],
        "expert_count": c["num_local_experts"],
        "expert_used_count": c["num_experts_per_tok"],
        "attention.head_count": c["num_attention_heads"],
        "attention.head_count_kv": c["num_key_value_heads"],
        "attention.key_length": c["head_dim"],
        "attention.value_length": c["head_dim"],
        "attention.sliding_window": c["sliding_window"],
        "attention.layer_norm_rms_epsilon": float(c["rms_norm_eps"]),
        "rope.freq_base": float(c["rope_theta"]),
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": float(yarn["factor"]),
        "rope.scaling.original_context_length": yarn["original_max_position_embeddings"],
    }


def metadata(c, weight_type, layout):
    gpt_oss = c["model_type"] == "gpt_oss"
    own, architecture = (gpt_oss_metadata(c), "gpt-oss") if gpt_oss else (deepseek_metadata(c, layout), "deepseek2")
    return {
        "general.architecture": architecture,
        "general.file_type": TYPES["mxfp4" if gpt_oss else weight_type].file_type,
        "general.alignment": ALIGNMENT,
        "tokenizer.ggml.model": "no_vocab",
        **{f"{architecture}.{key}": v for key, v in own.items()},
    }


def attention_tensors(c, layout):
    h, heads, latent = c["hidden_size"], c["num_attention_heads"], c["kv_lora_rank"]
    nope, rope, v = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
    yield "attn_q_a", (h, c["q_lora_rank"])
    yield "attn_q_b", (c["q_lora_rank"], heads * (nope + rope))
    yield "attn_kv_a_mqa", (h, latent + rope)
    if layout == "latent":
        yield "attn_k_b", (nope, latent, heads)
        yield "attn_v_b", (latent, v, heads)
    else:
        yield "attn_kv_b", (latent, heads * (nope + v))
    yield "attn_output", (heads * v, h)


def mlp_tensors(c, layer):
    h = c["hidden_size"]
    if layer < c["first_k_dense_replace"]:
        inter = c["intermediate_size"]
        return [("ffn_gate", (h, inter)), ("ffn_up", (h, inter)), ("ffn_down", (inter, h))]
    experts, inter = c["n_routed_experts"], c["moe_intermediate_size"]
    shared = inter * c["n_shared_experts"]
    return [("ffn_gate_exps", (h, inter, experts)), ("ffn_up_exps", (h, inter, experts)), ("ffn_down_exps", (inter, h, experts)),
            ("ffn_gate_shexp", (h, shared)), ("ffn_up_shexp", (h, shared)), ("ffn_down_shexp", (shared, h))]


def gpt_oss_layer(c, layer, weight_type):
    """The tensors of a layer, without its norms."""
    h, inter, experts = c["hidden_size"], c["intermediate_size"], c["num_local_experts"]
    queries, keys = c["num_attention_heads"] * c["head_dim"], c["num_key_value_heads"] * c["head_dim"]
    for name, into, out in (("attn_q", h, queries), ("attn_k", h, keys), ("attn_v", h, keys), ("attn_output", queries, h)):
        yield Tensor(f"blk.{layer}.{name}.weight", (into, out), weight_type)
        yield Tensor(f"blk.{layer}.{name}.bias", (out,), "f32")
    yield Tensor(f"blk.{layer}.attn_sinks.weight", (c["num_attention_heads"],), "f32")
    yield Tensor(f"blk.{layer}.ffn_gate_inp.weight", (h, experts), "f32")
    yield Tensor(f"blk.{layer}.ffn_gate_inp.bias", (experts,), "f32")
    for name, into, out in (("ffn_gate_exps", h, inter), ("ffn_up_exps", h, inter), ("ffn_down_exps", inter, h)):
        yield Tensor(f"blk.{layer}.{name}.weight", (into, out, experts), "mxfp4")
        yield Tensor(f"blk.{layer}.{name}.bias", (out, experts), "f32")


def tensors(c, weight_type, layout):
    h, vocabulary = c["hidden_size"], c["vocab_size"]
    found = [Tensor("token_embd.weight", (h, vocabulary), weight_type), Tensor("output_norm.weight", (h,), "f32", True),
             Tensor("output.weight", (h, vocabulary), weight_type)]
    for layer in range(c["num_hidden_layers"]):
        if c["model_type"] == "gpt_oss":
            found += [Tensor(f"blk.{layer}.{name}.weight", (h,), "f32", True) for name in ("attn_norm", "post_attention_norm")]
            found += gpt_oss_layer(c, layer, weight_type)
            continue
        norms = {"attn_norm": h, "attn_q_a_norm": c["q_lora_rank"], "attn_kv_a_norm": c["kv_lora_rank"], "ffn_norm": h}
        found += [Tensor(f"blk.{layer}.{name}.weight", (n,), "f32", True) for name, n in norms.items()]
        found += [Tensor(f"blk.{layer}.{name}.weight", dims, weight_type)
                  for name, dims in itertools.chain(attention_tensors(c, layout), mlp_tensors(c, layer))]
        if layer >= c["first_k_dense_replace"]:
            found.append(Tensor(f"blk.{layer}.ffn_gate_inp.weight", (h, c["n_routed_experts"]), "f32"))
            if c["topk_method"] == "noaux_tc":
                found.append(Tensor(f"blk.{layer}.exp_probs_b.bias", (c["n_routed_experts"],), "f32"))
    return found


def random_bytes(type_name):
    source = random.Random(type_name)
    if type_name == "q8_0":
        scale = struct.pack("<e", 0.05 / 127)
        return b"".join(scale + source.randbytes(32) for _ in range(PATTERN // 32))
    if type_name == "mxfp4":
        return b"".join(bytes([119]) + source.randbytes(16) for _ in range(PATTERN // 32))
    numbers = [source.uniform(-0.05, 0.05) for _ in range(PATTERN)]
    if type_name == "bf16":
        return b"".join(struct.pack("<f", x)[2:] for x in numbers)
    return struct.pack(f"<{PATTERN}{'e' if type_name == 'f16' else 'f'}", *numbers)


def pad(file):
    file.write(bytes(-file.tell() % ALIGNMENT))


def write(folder, out, weight_type="q8_0", layout="latent"):
    """Writes `out` in the shape of folder/config.json; `out` appears only when it is whole."""
    c = json.loads((pathlib.Path(folder) / "config.json").read_text())
    if c["model_type"] != "gpt_oss" and not c.get("q_lora_rank"):
        raise ValueError(f"{folder}/config.json has no q_lora_rank, which the peer wants of models that are not 26 or 27 layers deep")
    keys, parts = metadata(c, weight_type, layout), tensors(c, weight_type, layout)
    ones = struct.pack("<f", 1.0) * PATTERN
    patterns = {name: random_bytes(name) for name in {part.type for part in parts}}
    partial = f"{out}.partial"
    with open(partial, "wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, len(parts), len(keys)))
        for key, v in keys.items():
            file.write(text(key) + value(v))
        offset = 0
        for part in parts:
            file.write(text(part.name) + struct.pack(f"<I{len(part.dims)}QIQ", len(part.dims), *part.dims, TYPES[part.type].id, offset))
            offset += part.size() + -part.size() % ALIGNMENT
        pad(file)
        for part in parts:
            pattern, left = ones if part.ones else patterns[part.type], part.size()
            while left > 0:
                left -= file.write(pattern[:left])
            pad(file)
    os.replace(partial, out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="folder of a DeepSeek or gpt-oss config.json")
    parser.add_argument("out", help="file to write")
    parser.add_argument("--type", choices=["bf16", "f16", "q8_0"], default="q8_0")
    parser.add_argument("--layout", choices=LAYOUTS, default="latent")
    args = parser.parse_args()
    write(args.folder, args.out, args.type, args.layout)


if __name__ == "__main__":
    main()
