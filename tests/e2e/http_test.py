# SPDX-License-Identifier: Apache-2.0
"""What a real server does around the API: browsers, limits, defaults. usage: http_test.py BRAID MODEL"""
import json
import subprocess
import sys
import unittest
import urllib.error
import urllib.request

from server import DEADLINE_S, Server

CHAT = {"messages": [{"role": "user", "content": "What is a river?"}], "temperature": 0}


def ask(server, method, path, headers, body=None):
    """Status, headers and text of an answer."""
    request = urllib.request.Request(server.url + path, method=method, headers=headers, data=body and json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()


class Http(unittest.TestCase):
    def start(self, *flags):
        server = Server(*flags)
        self.addCleanup(lambda: self.assertEqual(server.stop(), 0))
        return server

    def test_pages_of_allowed_origins_may_ask(self):
        server = self.start("--allowed-origins", "https://a.example", "--api-key", "secret")
        preflight = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        status, headers, _ = ask(server, "OPTIONS", "/v1/chat/completions", preflight)
        self.assertEqual((status, headers["Access-Control-Allow-Headers"], headers["Access-Control-Allow-Origin"]),
                         (200, "authorization", "https://a.example"))
        status, headers, _ = ask(server, "POST", "/v1/chat/completions", {"Origin": "https://a.example", "Content-Type": "application/json"}, CHAT)
        self.assertEqual((status, headers["Access-Control-Allow-Origin"]), (401, "https://a.example"))
        status, _, text = ask(server, "OPTIONS", "/v1/chat/completions", {**preflight, "Origin": "https://b.example"})
        self.assertEqual((status, text), (400, "Disallowed CORS origin"))

    def test_answers_carry_a_request_id_when_asked_to(self):
        server = self.start("--enable-request-id-headers")
        self.assertEqual(ask(server, "GET", "/health", {"X-Request-Id": "mine"})[1]["X-Request-Id"], "mine")
        first, second = (ask(server, "GET", "/nowhere", {})[1]["X-Request-Id"] for _ in range(2))
        self.assertNotEqual(first, second)

    def test_heads_are_limited(self):
        server = self.start("--h11-max-header-count", "8", "--h11-max-incomplete-event-size", "2K")
        self.assertEqual(ask(server, "GET", "/health", {f"x{i}": "1" for i in range(9)})[0], 431)
        self.assertEqual(ask(server, "GET", "/health", {"x": "1" * 3000})[0], 431)
        self.assertEqual(ask(server, "GET", "/health", {"x": "1"})[0], 200)

    def test_sampling_defaults_can_be_overridden(self):
        server = self.start("--override-generation-config", '{"max_new_tokens": 3}')
        for body, tokens in ((CHAT, 3), ({**CHAT, "max_tokens": 5}, 5)):
            self.assertEqual(server.post("/v1/chat/completions", body)[1]["usage"]["completion_tokens"], tokens)

    def test_the_request_printed_at_the_start_works(self):
        server = self.start()
        command = server.wait_for_log(r"(curl -s .*)").group(1)
        answer = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=DEADLINE_S).stdout
        self.assertIn("river", json.loads(answer)["choices"][0]["message"]["content"].lower())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
