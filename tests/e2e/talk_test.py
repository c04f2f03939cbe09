# SPDX-License-Identifier: Apache-2.0
"""Tools, structured answers and the three chat APIs through their own clients. usage: talk_test.py BRAID MODEL"""
import json
import os
import subprocess
import tempfile
import unittest

import anthropic
import openai

from server import BRAID, DEADLINE_S, MODEL, Server

PARAMETERS = {"type": "object", "properties": {"word": {"enum": ["river", "lake"]}, "count": {"type": "integer", "minimum": 0, "maximum": 9}},
              "required": ["word", "count"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "look_up", "description": "Looks up a word", "parameters": PARAMETERS}}
QUESTION = [{"role": "user", "content": "What is a river?"}]


class Talk(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--enable-auto-tool-choice", "--tool-call-parser", "hermes")
        cls.openai = cls.server.client()
        cls.anthropic = anthropic.Anthropic(base_url=cls.server.url, api_key="none", max_retries=0, timeout=DEADLINE_S)
        cls.model = cls.openai.models.list().data[0].id

    @classmethod
    def tearDownClass(cls):
        assert cls.server.stop() == 0

    def fits(self, arguments):
        self.assertEqual(set(arguments), {"word", "count"})
        self.assertIn(arguments["word"], ("river", "lake"))
        self.assertIsInstance(arguments["count"], int)

    def test_chat_calls_the_tool_it_must(self):
        for choice, finish in (("required", "tool_calls"), ({"type": "function", "function": {"name": "look_up"}}, "stop")):
            for temperature in (0, 2):
                ask = dict(model=self.model, messages=QUESTION, tools=[TOOL], tool_choice=choice, temperature=temperature, seed=1, parallel_tool_calls=False)
                whole = self.openai.chat.completions.create(**ask).choices[0]
                self.assertEqual(whole.finish_reason, finish)
                [call] = whole.message.tool_calls
                self.assertEqual(call.function.name, "look_up")
                self.fits(json.loads(call.function.arguments))
                deltas = [c.choices[0].delta.tool_calls for c in self.openai.chat.completions.create(**ask, stream=True) if c.choices]
                pieces = [piece.function.arguments or "" for calls in deltas for piece in calls or []]
                self.assertEqual("".join(pieces), call.function.arguments)

    def test_responses_whole_streamed_and_continued(self):
        first = self.openai.responses.create(model=self.model, input="What is a river?", temperature=0)
        self.assertEqual(first.status, "completed")
        self.assertIn("water", first.output_text)
        with self.openai.responses.stream(model=self.model, input="What is a river?", temperature=0) as stream:
            kinds = [event.type for event in stream]
            final = stream.get_final_response()
        self.assertEqual(final.output_text, first.output_text)
        self.assertEqual((kinds[0], kinds[-1]), ("response.created", "response.completed"))
        self.assertEqual(self.openai.responses.retrieve(first.id).output_text, first.output_text)
        second = self.openai.responses.create(model=self.model, input="What is a lake?", previous_response_id=first.id, temperature=0)
        self.assertGreater(second.usage.input_tokens, first.usage.input_tokens)
        self.openai.responses.delete(first.id)
        with self.assertRaises(openai.NotFoundError):
            self.openai.responses.retrieve(first.id)

    def test_responses_tools_and_schemas(self):
        tool = {"type": "function", "name": "look_up", "parameters": PARAMETERS, "strict": True}
        answer = self.openai.responses.create(model=self.model, input="What is a river?", tools=[tool], tool_choice="required", parallel_tool_calls=False)
        [call] = [item for item in answer.output if item.type == "function_call"]
        self.fits(json.loads(call.arguments))
        turn = [{"role": "user", "content": "What is a river?"}, call.model_dump(), {"type": "function_call_output", "call_id": call.call_id, "output": "water"}]
        self.assertEqual(self.openai.responses.create(model=self.model, input=turn, max_output_tokens=4).status, "incomplete")
        text = {"format": {"type": "json_schema", "name": "word", "schema": PARAMETERS}}
        self.fits(json.loads(self.openai.responses.create(model=self.model, input="A word", text=text, temperature=2).output_text))
        with self.assertRaises(openai.BadRequestError):
            self.openai.responses.create(model=self.model, input="x", tools=[{"type": "web_search"}])

    def test_messages_whole_and_streamed(self):
        ask = dict(model=self.model, max_tokens=60, messages=QUESTION, extra_body={"temperature": 0})
        whole = self.anthropic.messages.create(**ask)
        self.assertEqual((whole.content[0].type, whole.stop_reason), ("text", "end_turn"))
        self.assertIn("water", whole.content[0].text)
        with self.anthropic.messages.stream(**ask) as stream:
            self.assertEqual("".join(stream.text_stream), whole.content[0].text)
            self.assertEqual(stream.get_final_message().usage.output_tokens, whole.usage.output_tokens)
        counted = self.anthropic.messages.count_tokens(model=self.model, messages=QUESTION)
        self.assertEqual(counted.input_tokens, whole.usage.input_tokens)
        stop = whole.content[0].text[8:12]
        stopped = self.anthropic.messages.create(**ask, stop_sequences=[stop])
        self.assertEqual((stopped.stop_reason, stopped.stop_sequence), ("stop_sequence", stop))

    def test_messages_tools_and_errors(self):
        tool = {"name": "look_up", "input_schema": PARAMETERS}
        ask = dict(model=self.model, max_tokens=200, messages=QUESTION, tools=[tool], tool_choice={"type": "any", "disable_parallel_tool_use": True})
        whole = self.anthropic.messages.create(**ask)
        self.assertEqual(whole.stop_reason, "tool_use")
        [use] = whole.content
        self.fits(use.input)
        with self.anthropic.messages.stream(**ask) as stream:
            self.fits(stream.get_final_message().content[0].input)
        result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "water"}, {"type": "text", "text": "Well?"}]}
        turn = [*QUESTION, {"role": "assistant", "content": [use.model_dump()]}, result]
        self.assertEqual(self.anthropic.messages.create(model=self.model, max_tokens=4, messages=turn, system="Be brief").role, "assistant")
        with self.assertRaises(anthropic.NotFoundError):
            self.anthropic.messages.create(model="other", max_tokens=4, messages=QUESTION)
        with self.assertRaises(anthropic.BadRequestError):
            self.anthropic.messages.create(model=self.model, max_tokens=100000, messages=QUESTION)

    def evaluate(self, kind, name, text, where=None):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, name)
            with open(path, "w") as file:
                file.write(text)
            run = subprocess.run([BRAID, "eval", kind, path, *(where or ["--url", self.server.url]), "--window", "32" if kind == "perplexity" else "64", "--overlap", "8"],
                                 capture_output=True, text=True, timeout=DEADLINE_S)
        self.assertEqual(run.returncode, 0, run.stderr)
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in run.stdout.splitlines()}

    def test_evaluations(self):
        known = self.openai.chat.completions.create(model=self.model, messages=QUESTION, temperature=0).choices[0].message.content
        text = "<｜User｜>What is a river?<｜Assistant｜>" + known
        likely = self.evaluate("perplexity", "a.txt", text)
        self.assertLess(likely["perplexity"], self.evaluate("perplexity", "b.txt", " ".join(reversed(text.split())))["perplexity"])
        question = {"prompt": "<｜User｜>What is a river?<｜Assistant｜>", "choices": ["Blue seven the", known], "answer": 1}
        asked = self.evaluate("choices", "c.jsonl", json.dumps(question) + "\n")
        self.assertEqual(asked["accuracy"], 1)
        local = ["--model", MODEL]
        self.assertEqual(self.evaluate("perplexity", "a.txt", text, local), likely)
        self.assertEqual(self.evaluate("choices", "c.jsonl", json.dumps(question) + "\n", local), asked)


if __name__ == "__main__":
    unittest.main(argv=["talk_test.py"], verbosity=2)
