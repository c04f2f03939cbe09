# SPDX-License-Identifier: Apache-2.0
"""Reads back what gguf.py writes. usage: gguf_test.py MODEL_FOLDER"""
import json
import math
import pathlib
import struct
import sys
import tempfile
import unittest

import gguf

FOLDER = pathlib.Path(sys.argv[1])
SCALARS = {4: "<I", 6: "<f", 7: "<?"}


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        value = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value if len(value) > 1 else value[0]

    def text(self):
        size = self.take("<Q")
        self.at += size
        return self.data[self.at - size:self.at].decode()

    def value(self):
        kind = self.take("<I")
        return self.text() if kind == 8 else self.take(SCALARS[kind])

    def tensor(self):
        name, count = self.text(), self.take("<I")
        dims = [self.take("<Q") for _ in range(count)]
        return name, dims, self.take("<I"), self.take("<Q")


def written(weight_type, layout):
    """Metadata, {name: (dims, type id, offset)} and bytes of tensor data."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "model.gguf")
        gguf.write(FOLDER, path, weight_type, layout)
        data = path.read_bytes()
    reader = Reader(data)
    assert data[:4] == b"GGUF"
    reader.at = 4
    version, tensors, keys = reader.take("<IQQ")
    assert version == 3
    metadata = {reader.text(): reader.value() for _ in range(keys)}
    found = {name: rest for name, *rest in (reader.tensor() for _ in range(tensors))}
    begin = -(-reader.at // gguf.ALIGNMENT) * gguf.ALIGNMENT
    return metadata, found, data[begin:]


class Gguf(unittest.TestCase):
    config = json.loads((FOLDER / "config.json").read_text())

    def test_tensors_lie_aligned_one_after_the_other_up_to_the_end(self):
        types = {t.id: t for t in gguf.TYPES.values()}
        for weight_type in ("bf16", "f16", "q8_0"):
            for layout in gguf.LAYOUTS:
                _, tensors, data = written(weight_type, layout)
                end = 0
                for dims, type_id, offset in tensors.values():
                    self.assertEqual(offset, end)
                    size = math.prod(dims) // types[type_id].block * types[type_id].bytes
                    end = -(-(offset + size) // gguf.ALIGNMENT) * gguf.ALIGNMENT
                self.assertEqual(len(data), end)

    def test_both_layouts_hold_the_same_number_of_weights(self):
        counts = [sum(math.prod(dims) for dims, _, _ in written("q8_0", layout)[1].values()) for layout in gguf.LAYOUTS]
        self.assertEqual(counts[0], counts[1])

    def test_metadata_tells_the_shape_of_config_json(self):
        metadata = written("q8_0", "latent")[0]
        for key, name in (("block_count", "num_hidden_layers"), ("embedding_length", "hidden_size"), ("expert_count", "n_routed_experts"),
                          ("expert_used_count", "num_experts_per_tok"), ("attention.kv_lora_rank", "kv_lora_rank")):
            self.assertEqual(metadata[f"deepseek2.{key}"], self.config[name])
        self.assertEqual(metadata["general.architecture"], "deepseek2")
        self.assertEqual(metadata["deepseek2.attention.head_count_kv"], 1)

    def test_norms_are_one(self):
        _, tensors, data = written("q8_0", "latent")
        dims, _, offset = tensors["blk.0.attn_norm.weight"]
        self.assertEqual(set(struct.unpack_from(f"<{dims[0]}f", data, offset)), {1.0})

    def test_a_shape_that_the_peer_lacks_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "config.json").write_text(json.dumps(self.config | {"q_lora_rank": None}))
            with self.assertRaisesRegex(ValueError, "q_lora_rank"):
                gguf.write(folder, pathlib.Path(folder, "out.gguf"))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
