# SPDX-License-Identifier: Apache-2.0
"""Drives the built server with the openai client and plain sockets. usage: api_test.py BRAID MODEL EXPECTED_JSON"""
import concurrent.futures
import json
import random
import socket
import subprocess
import sys
import unittest

from openai import APIStatusError

from server import BRAID, DEADLINE_S, MODEL, Server

EXPECTED = sys.argv[3]


class Api(unittest.TestCase):
    flags = ()

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.flags)
        cls.client = cls.server.client()
        cls.model = cls.client.models.list().data[0].id

    @classmethod
    def tearDownClass(cls):
        assert cls.server.stop() == 0

    def ask(self, question, **kw):
        kw = {"temperature": 0, "max_tokens": 80, **kw}
        return self.client.chat.completions.create(model=self.model, messages=[{"role": "user", "content": question}], **kw)

    def test_answers_whole_and_streamed_as_expected(self):
        with open(EXPECTED) as file:
            cases = [c for c in json.load(file)["questions"] if c.get("answer")]
        self.assertGreater(len(cases), 10)
        for case in cases:
            whole = self.ask(case["question"]).choices[0].message.content
            self.assertEqual(whole.strip(), case["answer"].strip())
            parts = [c.choices[0].delta.content or "" for c in self.ask(case["question"], stream=True) if c.choices]
            self.assertEqual("".join(parts), whole)

    def test_usage_and_finish_reasons(self):
        r = self.ask("What is a river?", max_tokens=5)
        self.assertEqual((r.choices[0].finish_reason, r.usage.completion_tokens), ("length", 5))
        self.assertEqual(self.ask("What is a river?").choices[0].finish_reason, "stop")
        chunks = list(self.ask("What is a river?", stream=True, stream_options={"include_usage": True}))
        self.assertEqual(chunks[-1].usage.total_tokens, chunks[-1].usage.prompt_tokens + chunks[-1].usage.completion_tokens)
        self.assertEqual(chunks[-2].choices[0].finish_reason, "stop")

    def test_stop_strings_cut_the_text(self):
        whole = self.ask("What is a river?").choices[0].message.content
        stop = whole[10:16]
        for stream in (False, True):
            r = self.ask("What is a river?", stop=[stop], stream=stream)
            text = "".join(c.choices[0].delta.content or "" for c in r) if stream else r.choices[0].message.content
            self.assertEqual(text, whole[:whole.index(stop)])

    def test_logprobs(self):
        r = self.ask("What is a river?", logprobs=True, top_logprobs=3).choices[0]
        self.assertEqual("".join(t.token for t in r.logprobs.content if t.token and not t.token.startswith("<")), r.message.content)
        for t in r.logprobs.content:
            self.assertEqual(len(t.top_logprobs), 3)
            self.assertAlmostEqual(t.logprob, t.top_logprobs[0].logprob)

    def test_a_seed_gives_the_same_text_alone_and_in_a_crowd(self):
        kw = dict(temperature=1.5, seed=7, max_tokens=30)
        alone = self.ask("Tell me", **kw).choices[0].message.content
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            crowd = list(pool.map(lambda i: self.ask("Tell me", **{**kw, "seed": 7 if i % 3 == 0 else i}).choices[0].message.content, range(12)))
        self.assertEqual({crowd[i] for i in range(0, 12, 3)}, {alone})
        self.assertGreater(len(set(crowd)), 1)

    def test_many_choices(self):
        r = self.ask("Tell me", n=3, temperature=1.0, seed=1, max_tokens=12)
        self.assertEqual([c.index for c in r.choices], [0, 1, 2])

    def test_structured_output(self):
        schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}
        r = self.ask("What is a river?", response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}})
        self.assertIsInstance(json.loads(r.choices[0].message.content)["ok"], bool)
        r = self.ask("What is a river?", extra_body={"structured_outputs": {"choice": ["red", "green"]}})
        self.assertIn(r.choices[0].message.content, ("red", "green"))

    def test_completions_take_text_and_tokens(self):
        text = self.client.completions.create(model=self.model, prompt="What is a river?", max_tokens=4, temperature=0, echo=True)
        self.assertTrue(text.choices[0].text.startswith("What is a river?"))
        status, tokens = self.server.post("/tokenize", {"prompt": "What is a river?"})
        self.assertEqual(status, 200)
        ids = self.client.completions.create(model=self.model, prompt=tokens["tokens"], max_tokens=4, temperature=0)
        self.assertEqual(text.choices[0].text, "What is a river?" + ids.choices[0].text)
        self.assertEqual(self.server.post("/detokenize", {"tokens": tokens["tokens"]})[1]["prompt"], "What is a river?")
        many = self.client.completions.create(model=self.model, prompt=["a", "b"], n=2, temperature=1, max_tokens=2)
        self.assertEqual([c.index for c in many.choices], [0, 1, 2, 3])

    def test_render_and_generate(self):
        _, rendered = self.server.post("/v1/chat/completions/render", {"messages": [{"role": "user", "content": "hi"}]})
        status, answer = self.server.post("/inference/v1/generate", {**rendered, "sampling_params": {"temperature": 0, "max_tokens": 3}})
        self.assertEqual((status, len(answer["choices"][0]["token_ids"])), (200, 3))

    def test_errors_name_the_field(self):
        messages = [{"role": "user", "content": "hi"}]
        for body, status, param in (({"messages": messages, "temperature": -1}, 400, "temperature"), ({"messages": messages, "model": "x"}, 404, "model"),
                                    ({"messages": messages, "n": "two"}, 400, "body.n"), (b"{", 400, "body.1"), ({"messages": messages, "n": 2, "temperature": 0}, 400, None),
                                    ({"messages": messages, "max_tokens": 100000}, 400, None)):
            got, answer = self.server.post("/v1/chat/completions", body)
            self.assertEqual((got, answer["error"]["code"]), (status, status))
            if param:
                self.assertEqual(answer["error"]["param"], param)
        with self.assertRaises(APIStatusError):
            self.ask("hi", extra_body={"structured_outputs": {"regex": "("}})
        self.assertEqual(self.server.post("/nowhere", {})[0], 404)

    def test_metrics_count_the_work(self):
        before = self.server.metric("vllm:generation_tokens_total")
        self.ask("What is a river?", max_tokens=5)
        self.assertEqual(self.server.metric("vllm:generation_tokens_total"), before + 5)
        self.assertEqual(json.loads(self.server.get("/version"))["version"], "0.1.0")

    def test_bench_serve_and_chat_talk_to_the_server(self):
        for flags in (["--max-concurrency", "4"], ["--request-rate", "200"]):
            run = subprocess.run([BRAID, "bench", "serve", self.server.url, "--num-prompts", "8", "--random-output-len", "4", *flags],
                                 capture_output=True, text=True, timeout=DEADLINE_S)
            self.assertEqual(run.returncode, 0, run.stderr)
            self.assertRegex(run.stdout, r"^8 requests in .* 0 failed\n")
        run = subprocess.run([BRAID, "chat", self.server.url], input="What is a river?\n/quit\n", capture_output=True, text=True, timeout=DEADLINE_S)
        self.assertIn("natural stream of water", run.stdout)

    def test_a_storm_leaves_nothing_behind(self):
        body = json.dumps({"messages": [{"role": "user", "content": "What is a river?"}], "stream": True, "ignore_eos": True, "max_tokens": 200}).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: "

        def client(i):
            chance = random.Random(i)
            with socket.create_connection(("127.0.0.1", self.server.port), timeout=DEADLINE_S) as s:
                if i % 5 == 0:
                    s.sendall(head + b"9\r\n\r\n{\"messag\"")
                    return b"400" in s.recv(4096)
                s.sendall(head + str(len(body)).encode() + b"\r\n\r\n" + body)
                for _ in range(chance.randrange(1, 6)):
                    if not s.recv(2048):
                        return False
                return True

        with concurrent.futures.ThreadPoolExecutor(200) as pool:
            self.assertTrue(all(pool.map(client, range(200))))
        # The next answer comes after the cancelled ones were seen, and the gauges are of that step.
        self.ask("What is a river?")
        for _ in range(200):
            if self.server.metric("vllm:num_requests_running") == 0 and self.server.metric("vllm:kv_cache_usage_perc") == 0:
                break
            self.ask("What is a river?", max_tokens=2)
        self.assertEqual(self.server.metric("vllm:num_requests_running"), 0)
        self.assertEqual(self.server.metric("vllm:kv_cache_usage_perc"), 0)


class Speculating(Api):
    """Everything again, with drafted tokens: nothing may differ."""
    flags = ("--speculative-config", '{"method": "mtp", "num_speculative_tokens": 2, "disable_by_batch_size": 64}')

    def test_drafts_come_true_and_are_counted(self):
        self.ask("What is a river?")
        drafts = self.server.metric("vllm:spec_decode_num_drafts_total")
        accepted = self.server.metric("vllm:spec_decode_num_accepted_tokens_total")
        self.assertGreater(drafts, 0)
        self.assertGreater(accepted, 0)
        self.assertEqual(accepted, self.server.metric("vllm:spec_decode_num_accepted_tokens_per_pos_total"))


class Guarded(unittest.TestCase):
    def test_keys_protect_what_costs(self):
        server = Server("--api-key", "secret")
        try:
            messages = {"messages": [{"role": "user", "content": "hi"}]}
            for path in ("/v1/chat/completions", "/v1/completions", "/tokenize", "/inference/v1/generate"):
                self.assertEqual(server.post(path, messages)[0], 401)
                self.assertEqual(server.post(path, messages, {"Authorization": "Bearer wrong"})[0], 401)
            self.assertEqual(server.post("/v1/chat/completions", messages, {"Authorization": "Bearer secret"})[0], 200)
            self.assertEqual(server.get("/health"), "")
            self.assertEqual(server.client("secret").models.list().data[0].id, MODEL)
        finally:
            self.assertEqual(server.stop(), 0)

    def test_a_full_queue_is_refused_with_retry_after(self):
        server = Server("--max-waiting-requests", "1", "--max-num-seqs", "1")
        try:
            body = {"messages": [{"role": "user", "content": "hi"}], "ignore_eos": True, "max_tokens": 1500}
            with concurrent.futures.ThreadPoolExecutor(12) as pool:
                statuses = [status for status, _ in pool.map(lambda _: server.post("/v1/chat/completions", body), range(12))]
            self.assertIn(429, statuses)
            self.assertIn(200, statuses)
        finally:
            server.stop()

    def test_bad_settings_end_with_one_line(self):
        for flags, expected in ((["--block-siz", "1"], "block-size"), (["--tensor-parallel-size", "2"], "tensor-parallel-size"),
                                (["--max-model-len", "9999"], "2048"), (["--speculative-config.method", "ngram"], "num_speculative_tokens")):
            run = subprocess.run([BRAID, "serve", MODEL, *flags], capture_output=True, text=True, timeout=DEADLINE_S)
            self.assertEqual(run.returncode, 2, run.stderr)
            self.assertIn(expected, run.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
