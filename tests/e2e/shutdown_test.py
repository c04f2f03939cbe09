# SPDX-License-Identifier: Apache-2.0
"""How a real server process ends. usage: shutdown_test.py BRAID MODEL"""
import json
import signal
import socket
import sys
import unittest

from server import DEADLINE_S, Server


class Shutdown(unittest.TestCase):
    def start(self, *flags):
        self.server = Server(*flags)
        self.addCleanup(self.server.process.kill)

    def stream(self, n, max_tokens):
        """A connection on which a stream has begun."""
        body = json.dumps({"messages": [{"role": "user", "content": "hi"}], "stream": True, "stream_options": {"include_usage": True},
                           "temperature": 1, "ignore_eos": True, "n": n, "max_tokens": max_tokens}).encode()
        s = socket.create_connection(("127.0.0.1", self.server.port), timeout=DEADLINE_S)
        self.addCleanup(s.close)
        s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: "
                  + str(len(body)).encode() + b"\r\n\r\n" + body)
        self.assertIn(b" 200 OK", s.recv(15))
        return s

    def terminate(self):
        self.server.process.send_signal(signal.SIGTERM)
        self.server.wait_for_log("shutting down")

    @staticmethod
    def read_all(connection):
        parts = []
        while part := connection.recv(1 << 16):
            parts.append(part)
        return b"".join(parts)

    def test_running_answers_end_and_their_last_bytes_arrive(self):
        self.start()
        connection = self.stream(n=4, max_tokens=400)
        self.terminate()
        answer = self.read_all(connection)
        self.assertTrue(answer.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"), answer[-300:])
        self.assertIn(b'"completion_tokens":1600', answer)
        self.assertEqual(self.server.wait(), 0)

    def test_an_idle_server_ends(self):
        self.start()
        self.assertEqual(self.server.stop(), 0)

    def test_a_second_signal_ends_at_once(self):
        self.start("--drain-timeout", "3600")
        self.stream(n=100, max_tokens=1900)
        self.terminate()
        self.server.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.server.wait(), -signal.SIGTERM)

    def test_the_drain_has_a_deadline(self):
        self.start("--drain-timeout", "0")
        connection = self.stream(n=100, max_tokens=1900)
        self.terminate()
        self.assertEqual(self.server.wait(), 0)
        self.assertNotIn(b'"completion_tokens":190000', self.read_all(connection))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
