# SPDX-License-Identifier: Apache-2.0
"""Prompts of 131072 tokens over windows, found again by their prefix, also in an FP8 cache. usage: long_context_test.py BRAID MODEL"""
import json
import os
import tempfile
import unittest

from server import BRAID, Process

LONG, TAIL = 131072, 24
CONFIG = {"architectures": ["GptOssForCausalLM"], "vocab_size": 320, "hidden_size": 64, "intermediate_size": 32, "num_hidden_layers": 3,
          "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 128,
          "layer_types": ["sliding_attention", "sliding_attention", "sliding_attention"], "rms_norm_eps": 1e-5, "rope_theta": 150000, "max_position_embeddings": LONG + 128,
          "rope_scaling": {"rope_type": "yarn", "factor": 32.03125, "original_max_position_embeddings": 4096, "beta_fast": 32, "beta_slow": 1, "truncate": False},
          "swiglu_limit": 7.0, "quantization_config": {"quant_method": "mxfp4"}, "eos_token_id": 1}


class LongContext(unittest.TestCase):
    def serve(self, *flags):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        with open(os.path.join(folder.name, "config.json"), "w") as f:
            json.dump(CONFIG, f)
        server = Process([BRAID, "serve", folder.name, "--load-format", "dummy", "--skip-tokenizer-init", "--device", "cpu", "--max-num-seqs", "2", "--enable-prompt-tokens-details", "--host", "127.0.0.1", "--port", "0", *flags])
        self.addCleanup(server.end)
        server.wait_ready()
        return server

    def ask(self, server, prompt):
        """Tokens of the answer, and how many of the prompt's were cached."""
        status, answer = server.post("/v1/completions", {"prompt": prompt, "max_tokens": 8, "temperature": 0, "ignore_eos": True, "return_token_ids": True})
        self.assertEqual(status, 200, answer)
        self.assertEqual(answer["usage"]["prompt_tokens"], len(prompt))
        return answer["choices"][0]["token_ids"], answer["usage"]["prompt_tokens_details"]["cached_tokens"]

    def test_a_prefix_of_131072_tokens_is_found_again(self):
        prefix = [(p * 37 + p // 11) % 318 + 2 for p in range(LONG)]
        tails = [[(p * n) % 300 + 2 for p in range(TAIL)] for n in (7, 11)]
        for flags in ((), ("--kv-cache-dtype", "fp8"), ("--max-num-batched-tokens", "1500")):
            with self.subTest(flags=flags):
                server = self.serve(*flags)
                first, cached = self.ask(server, prefix + tails[0])
                self.assertEqual(cached, 0)
                other, cached = self.ask(server, prefix + tails[1])
                self.assertEqual(cached, LONG)
                again, cached = self.ask(server, prefix + tails[0])
                self.assertGreaterEqual(cached, LONG)
                self.assertEqual(again, first)
                fresh, cached = self.ask(self.serve(*flags, "--no-enable-prefix-caching"), prefix + tails[1])
                self.assertEqual((fresh, cached), (other, 0))
                self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    unittest.main(argv=["long_context_test.py"], verbosity=2)
