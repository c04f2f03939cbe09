# SPDX-License-Identifier: Apache-2.0
"""Answers, whole and streamed, against the peer's response schemas. usage: schema_test.py BRAID MODEL SCHEMA_FOLDER"""
import json
import sys
import unittest
import urllib.request

import jsonschema

from server import DEADLINE_S, Server

FOLDER = sys.argv[3]
CHAT = {"messages": [{"role": "user", "content": "What is a river?"}], "max_tokens": 6, "temperature": 0}
TEXT = {"prompt": "What is a river?", "max_tokens": 6, "temperature": 0}
# Every optional part of an answer.
ALL = {"return_token_ids": True, "seed": 1, "n": 2, "temperature": 1}
STREAM = {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}


def schema(file, name):
    with open(f"{FOLDER}/schema_{file}.json") as text:
        return {"$ref": f"#/$defs/{name}", "$defs": json.load(text)["$defs"]}


class Schemas(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()

    @classmethod
    def tearDownClass(cls):
        assert cls.server.stop() == 0

    def fits(self, answer, file, name, complete=()):
        whole = schema(file, name)
        jsonschema.validate(answer, whole)
        for part, model in complete:
            self.assertEqual(set(whole["$defs"][model]["properties"]) - set(part), set(), model)

    def ask(self, path, body):
        status, answer = self.server.post(path, body)
        self.assertEqual(status, 200, answer)
        return answer

    def events(self, path, body):
        request = urllib.request.Request(self.server.url + path, data=json.dumps({**body, **STREAM}).encode(), headers={"Content-Type": "application/json"})
        lines = urllib.request.urlopen(request, timeout=DEADLINE_S).read().decode().split("\n\n")
        self.assertEqual(lines[-2:], ["data: [DONE]", ""])
        return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]

    def test_chat(self):
        for more in ({}, ALL, {**ALL, "logprobs": True, "top_logprobs": 2, "return_prompt_text": True}):
            answer = self.ask("/v1/chat/completions", {**CHAT, **more, "prompt_logprobs": 1})
            choice = answer["choices"][0]
            self.fits(answer, "chat_completions", "ChatCompletionResponse",
                      [(answer, "ChatCompletionResponse"), (choice, "ChatCompletionResponseChoice"),
                       ({**choice["message"], "tool_calls": []}, "ChatMessage")])  # left out when there are none
            for event in self.events("/v1/chat/completions", {**CHAT, **more}):
                self.fits(event, "chat_completions", "ChatCompletionStreamResponse")

    def test_completions(self):
        for more in ({}, ALL, {**ALL, "logprobs": 2, "echo": True}, {"max_tokens": 0, "echo": True, "logprobs": 1}):
            answer = self.ask("/v1/completions", {**TEXT, **more})
            self.fits(answer, "completions", "CompletionResponse",
                      [(answer, "CompletionResponse"), (answer["choices"][0], "CompletionResponseChoice")])
            for event in self.events("/v1/completions", {**TEXT, **more}):
                self.fits(event, "completions", "CompletionStreamResponse")

    def test_tokens_and_models(self):
        tokens = self.ask("/tokenize", {"prompt": "A river.", "return_token_strs": True})
        self.fits(tokens, "tokenize", "TokenizeResponse", [(tokens, "TokenizeResponse")])
        self.fits(self.ask("/tokenize", {"messages": CHAT["messages"]}), "tokenize", "TokenizeResponse")
        self.fits(self.ask("/detokenize", {"tokens": tokens["tokens"]}), "tokenize", "DetokenizeResponse")
        models = json.loads(self.server.get("/v1/models"))
        card = models["data"][0]
        self.fits(models, "common", "ModelList", [(card, "ModelCard"), (card["permission"][0], "ModelPermission")])

    def test_errors(self):
        for path, body in (("/v1/chat/completions", {}), ("/v1/completions", {**TEXT, "top_p": 0}), ("/nowhere", {}), ("/v1/completions", {**TEXT, "model": "x"})):
            status, answer = self.server.post(path, body)
            self.fits(answer, "common", "ErrorResponse", [(answer["error"], "ErrorInfo")])
            self.assertEqual(answer["error"]["code"], status)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
